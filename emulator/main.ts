import { parseArgs } from 'node:util'
import { startGateway } from './gateway.ts'
import { assumedLatency, defaultGatewayOptions } from './options.ts'

const USAGE = `usage: npm run local-gateway -- [options]

An emulator of API Gateway: the control plane and a demo API on one port. All state is kept in memory.

  --host HOST     address to listen on (default: 127.0.0.1)
  --port PORT     port to listen on; 0: any free port (default: 4000)
  --quotas        enforce the published quotas of the control plane
  --parallel      run attaches and imports at the same time, which API Gateway rejects
  --latency       take as long as API Gateway is assumed to, ±30 %
  --max-keys N    API key quota of the account (default: 10000)
  --help          print this help
`

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '4000' },
      quotas: { type: 'boolean', default: false },
      parallel: { type: 'boolean', default: false },
      latency: { type: 'boolean', default: false },
      'max-keys': { type: 'string', default: '10000' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return
  }

  const latency = values.latency ? { latency: assumedLatency, latencyJitter: 0.3, importPerKeyMs: 0.5 } : {}
  const gateway = await startGateway(
    {
      quotas: values.quotas,
      oneAttachAtATime: !values.parallel,
      maxKeys: wholeNumber('--max-keys', values['max-keys'], 1_000_000),
      ...latency,
    },
    { host: values.host, port: wholeNumber('--port', values.port, 65_535) },
  )
  const { region, accessKeyId, secretAccessKey, plans } = defaultGatewayOptions
  process.stdout.write(`API Gateway emulator on ${gateway.url}. To use it:

  export AWS_ENDPOINT_URL_API_GATEWAY=${gateway.url} AWS_REGION=${region}
  export AWS_ACCESS_KEY_ID=${accessKeyId} AWS_SECRET_ACCESS_KEY=${secretAccessKey}

  export USAGE_PLANS=${plans.map((plan) => `${plan.name}=${plan.id}`).join(',')}
  export API_BASE_URL=${gateway.url}/execute-api/demo/prod/hello

Usage plans:  ${plans.map((plan) => `${plan.name}=${plan.id}`).join(', ')}
Demo API:     ${gateway.url}/execute-api/demo/prod/hello   (requires an x-api-key header)
State:        ${gateway.url}/_local/state
Faults:       POST ${gateway.url}/_local/faults   {"operation":"CreateApiKey","when":"after","kind":"cut"}
`)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => gateway.close())
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
