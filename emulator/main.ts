import { parseArgs } from 'node:util'
import { startGateway } from './gateway.ts'
import { defaultGatewayOptions, realisticLatency } from './options.ts'

const USAGE = `usage: npm run local-gateway -- [options]

A local API Gateway: control plane and demo API on one port, everything in memory.

  --host HOST     listen address (127.0.0.1)
  --port PORT     port, 0 for any free one (4000)
  --quotas        enforce the published quotas of the control plane
  --parallel      let attaches and imports run at the same time, as the real one does not
  --latency       take as long as the real operations do, ±30 %
  --max-keys N    how many keys the account may hold (10000)
  --help          this text
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

  const realistic = values.latency
    ? { latency: realisticLatency, latencyJitter: 0.3, importPerKeyMs: 0.5 }
    : {}
  const gateway = await startGateway(
    {
      quotas: values.quotas,
      oneAttachAtATime: !values.parallel,
      maxKeys: Number(values['max-keys']),
      ...realistic,
    },
    { host: values.host, port: Number(values.port) },
  )
  const { region, accessKeyId, secretAccessKey, plans } = defaultGatewayOptions
  process.stdout.write(`Local API Gateway on ${gateway.url}. To use it:

  export AWS_ENDPOINT_URL_API_GATEWAY=${gateway.url} AWS_REGION=${region}
  export AWS_ACCESS_KEY_ID=${accessKeyId} AWS_SECRET_ACCESS_KEY=${secretAccessKey}

  export USAGE_PLANS=${plans.map((plan) => `${plan.name}=${plan.id}`).join(',')}
  export API_BASE_URL=${gateway.url}/execute-api/demo/prod/hello

Usage plans:  ${plans.map((plan) => `${plan.name}=${plan.id}`).join(', ')}
Demo API:     ${gateway.url}/execute-api/demo/prod/hello   (needs an x-api-key)
State:        ${gateway.url}/_local/state
Faults:       POST ${gateway.url}/_local/faults   {"operation":"CreateApiKey","when":"after","kind":"cut"}
`)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => gateway.close())
}

try {
  await main()
} catch (error) {
  process.stderr.write(`local-gateway: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
