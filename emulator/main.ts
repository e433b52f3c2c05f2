import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { startGateway } from './gateway.ts'
import { createAuthorizer, type PolicyDocument } from './iam-policy.ts'
import { assumptions, defaultGatewayOptions } from './options.ts'

const USAGE = `usage: npm run local-gateway -- [options]

An emulator of API Gateway: the control plane and the APIs on one port. All state is kept in memory.

  --host HOST       address to listen on (default: 127.0.0.1)
  --port PORT       port to listen on; 0: any free port (default: 4000)
  --quotas          enforce the published quotas of the control plane
  --parallel        run attaches and imports at the same time, which API Gateway rejects
  --empty           start without the demo API and its usage plans
  --policy FILE     allow the credentials only what this IAM policy (JSON) allows
  --latency         take as long as API Gateway is assumed to, ±30 %
  --propagation MS  time until the APIs accept a new key (default: 0)
  --flicker MS      time after that in which they accept only some requests with it (default: 0)
  --max-keys N      API key quota of the account (default: 10000)
  --help            print this help
`

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '4000' },
      quotas: { type: 'boolean', default: false },
      parallel: { type: 'boolean', default: false },
      empty: { type: 'boolean', default: false },
      policy: { type: 'string' },
      latency: { type: 'boolean', default: false },
      propagation: { type: 'string', default: '0' },
      flicker: { type: 'string', default: '0' },
      'max-keys': { type: 'string', default: '10000' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return
  }

  const gateway = await startGateway(
    {
      quotas: values.quotas,
      oneAttachAtATime: !values.parallel,
      ...(values.empty ? { restApis: [], plans: [] } : {}),
      policy: values.policy === undefined ? null : readPolicy(values.policy),
      maxKeys: wholeNumber('--max-keys', values['max-keys'], 1_000_000),
      propagationMs: wholeNumber('--propagation', values.propagation, 3_600_000),
      flickerMs: wholeNumber('--flicker', values.flicker, 3_600_000),
      ...(values.latency ? assumptions : {}),
    },
    { host: values.host, port: wholeNumber('--port', values.port, 65_535) },
  )
  const { region, accessKeyId, secretAccessKey, plans } = defaultGatewayOptions
  const demo = `
  export USAGE_PLANS=${plans.map((plan) => `${plan.name}=${plan.id}`).join(',')}
  export API_BASE_URL=${gateway.url}/execute-api/demo/prod/hello API_PROBE_PATH=/status

Usage plans:  ${plans.map((plan) => `${plan.name}=${plan.id}`).join(', ')}
Demo API:     ${gateway.url}/execute-api/demo/prod/hello   (requires an x-api-key header)`
  process.stdout.write(`API Gateway emulator on ${gateway.url}. To use it:

  export AWS_ENDPOINT_URL_API_GATEWAY=${gateway.url} AWS_REGION=${region}
  export AWS_ACCESS_KEY_ID=${accessKeyId} AWS_SECRET_ACCESS_KEY=${secretAccessKey}
${values.empty ? '' : demo}
APIs:         ${gateway.url}/execute-api/{id}/{stage}/…
State:        ${gateway.url}/_local/state, and the last calls at ${gateway.url}/_local/calls
Faults:       POST ${gateway.url}/_local/faults   {"operation":"CreateApiKey","when":"after","kind":"cut"}
`)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => gateway.close())
}

/** @throws Error that names the option and the faults of the document */
function readPolicy(file: string): PolicyDocument {
  try {
    const policy = JSON.parse(readFileSync(file, 'utf8'))
    createAuthorizer(policy)
    return policy
  } catch (error) {
    const fault = error instanceof z.ZodError ? z.prettifyError(error) : String(error)
    throw new Error(`--policy must be a file with an IAM policy: ${fault}`)
  }
}

/** Parses the number of an option. @throws Error that names the option and its range */
function wholeNumber(option: string, text: string, max: number): number {
  if (/^\d+$/.test(text) && Number(text) <= max) return Number(text)
  throw new Error(`${option} must be a number from 0 to ${max}`)
}

try {
  await main()
} catch (error) {
  process.stderr.write(`local-gateway: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
