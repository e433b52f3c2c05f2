import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { APIGatewayClient } from '@aws-sdk/client-api-gateway'
import { type LoopbackServer, startLoopbackServer } from '../loopback-server.ts'
import type { Feature } from './features.ts'
import type { TestedGateway } from './tested-gateway.ts'

const program = join(import.meta.dirname, '../../../.cache/ministack/bin/ministack')
const REGION = 'eu-west-1'

/** Its differences from API Gateway: a patch stores its text, and the data plane shows an API as it is edited. */
const lacks: readonly Feature[] = [
  'UpdateUsagePlan adds a stage',
  'UpdateUsagePlan changes a rate',
  'UpdateMethod changes apiKeyRequired',
  'UpdateApiKey disables a key',
  'the data plane obeys the deployed methods',
  'the data plane wants the key from the authorizer',
  'GetExport shows the deployed methods',
  'GetExport shows the deployed apiKeySource',
  'the summary of a deployment has the authorizationType',
  'a plan loses a stage that is deleted',
  'CreateStage rejects a stage that exists',
  'CreateUsagePlan rejects a stage that does not exist',
  'DeleteUsagePlan rejects a plan with stages',
  'UpdateBasePathMapping',
  'GetUsage',
  'ImportApiKeys',
  'GetApiKeys keeps the values to itself',
  'GetUsagePlans lists the plans of a key alone',
  'CreateUsagePlanKey rejects a second plan of the stage',
]

/**
 * Starts MiniStack, an AWS emulator that others made, with its API Gateway alone: empty and in memory.
 * @throws Error if it is not installed; with its output if it does not start
 */
export async function startMiniStack(): Promise<TestedGateway & Pick<LoopbackServer, 'stop'>> {
  if (!existsSync(program)) throw new Error('MiniStack is not installed: .ci/ministack does this')
  // For the file with its process id.
  const scratch = mkdtempSync(join(tmpdir(), 'firstkey-ministack-'))
  const remove = () => rmSync(scratch, { recursive: true, force: true })
  const { endpoint, stop } = await startLoopbackServer('MiniStack', (port) => ({
    command: program,
    args: [],
    options: {
      env: {
        PATH: process.env['PATH'],
        TMPDIR: scratch,
        // Without it, it listens on all interfaces.
        BIND_HOST: '127.0.0.1',
        GATEWAY_PORT: String(port),
        MINISTACK_REGION: REGION,
        SERVICES: 'apigateway',
      },
    },
  })).catch((error: unknown) => {
    remove()
    throw error
  })
  // It looks at no signature.
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
  const sdk = new APIGatewayClient({ region: REGION, endpoint, credentials, maxAttempts: 1 })
  return {
    name: 'MiniStack',
    env: {
      AWS_REGION: REGION,
      AWS_ENDPOINT_URL_API_GATEWAY: endpoint,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
    sdk,
    stageUrl: (api, stage) => `${endpoint}/restapis/${api}/${stage}/_user_request_`,
    lacks,
    async stop() {
      sdk.destroy()
      await stop().finally(remove)
    },
  }
}
