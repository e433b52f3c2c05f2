import type { TestContext } from 'node:test'
import type { Gateway } from '../../emulator/gateway.ts'
import { defaultGatewayOptions } from '../../emulator/options.ts'
import { createPace } from '../../src/aws/pace.ts'
import { createRestApiChanges, type RestApiChanges, type Write } from '../../src/aws/rest-api-changes.ts'
import { createRestApiReads, type RestApiReads } from '../../src/aws/rest-apis.ts'
import { type GatewayConfig, readGatewayConfig } from '../../src/config.ts'
import { applyChanges, type Progress } from '../../src/setup/apply.ts'
import type { Change } from '../../src/setup/changes.ts'
import { type Look, lookAtApi, lookAtNewApi, lookAtRemoval } from '../../src/setup/look.ts'
import { readOptions } from '../../src/setup/options.ts'

export interface SetupArguments {
  readonly api?: string
  readonly name?: string
  readonly stage?: string
  readonly plan?: readonly string[]
  readonly methods?: readonly string[]
  readonly throttle?: readonly string[]
  readonly delete?: true
}

/** One process of `firstkey setup`, without its printing. */
export interface SetupRun {
  readonly environment: GatewayConfig
  readonly reads: RestApiReads
  readonly changes: RestApiChanges
  readonly look: () => Promise<Look>
  /** Makes the changes. @param between runs after each call that took effect; what it throws ends the process there */
  apply(options?: ApplyOptions): Promise<Change[]>
  /** The lines of progress so far. */
  readonly lines: string[]
}

export interface ApplyOptions {
  readonly look?: () => Promise<Look>
  readonly between?: (write: Write) => void
}

/** Opens a run against a local gateway. It is closed at the end of the test. */
export function openSetup(t: TestContext, gateway: Pick<Gateway, 'url'>, typed: SetupArguments): SetupRun {
  process.env['AWS_ACCESS_KEY_ID'] = defaultGatewayOptions.accessKeyId
  process.env['AWS_SECRET_ACCESS_KEY'] = defaultGatewayOptions.secretAccessKey
  const environment = readGatewayConfig({
    AWS_REGION: defaultGatewayOptions.region,
    AWS_ENDPOINT_URL_API_GATEWAY: gateway.url,
    AWS_CALLS_PER_SECOND: '0',
  })
  const { region, apiGatewayEndpoint: endpoint } = environment
  const signal = new AbortController().signal
  const options = { region, endpoint, callTimeoutMs: 10_000, observeDate: () => undefined }
  const pace = createPace(0)
  const reads = createRestApiReads({ ...options, callsPerSecond: 0, signal }, pace)
  const changes = createRestApiChanges(options, pace)
  t.after(() => {
    reads.close()
    changes.close()
  })
  const { plan = [], methods = [], throttle = [], api = '', stage, name } = typed
  const { options: read } = readOptions({ plan, methods, throttle })
  const look =
    name === undefined
      ? lookAtApi(reads, environment, { api, stage }, read)
      : () =>
          typed.delete
            ? lookAtRemoval(reads, name)
            : lookAtNewApi(reads, environment, { name, stage: stage ?? 'prod' }, read)
  const lines: string[] = []
  const progress: Progress = {
    begins: ({ title }) => void lines.push(title),
    waits: (seconds, why) => void lines.push(`waits ${Math.ceil(seconds)} s: ${why}`),
  }
  return {
    ...{ environment, reads, changes, look, lines },
    apply({ look: ownLook = look, between = () => undefined } = {}) {
      const watched: RestApiChanges = {
        ...changes,
        async make(write, abort) {
          const id = await changes.make(write, abort)
          between(write)
          return id
        },
      }
      return applyChanges(ownLook, watched, progress, signal)
    },
  }
}

/** Returns the status with which the API answers, with a new key of a plan and without one. */
export async function askApi(
  gateway: Gateway,
  {
    api,
    stage = 'prod',
    path = '/hello',
    method = 'GET',
  }: { api: string; stage?: string; path?: string; method?: string },
  plan?: string,
): Promise<{ without: number; with: number | undefined }> {
  const url = `${gateway.url}/execute-api/${api}/${stage}${path}`
  const without = (await fetch(url, { method })).status
  if (plan === undefined) return { without, with: undefined }
  const { account } = gateway
  const found = [...account.plans.values()].filter(({ name }) => name === plan)
  const key = account.createKey({ name: 'probe', enabled: true })
  account.attach(found[0]?.id ?? '', key.id)
  const answer = await fetch(url, { method, headers: { 'x-api-key': key.value } })
  account.deleteKey(key.id)
  return { without, with: answer.status }
}
