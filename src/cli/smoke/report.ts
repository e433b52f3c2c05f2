import pkg from '../../../package.json' with { type: 'json' }
import type { AwsCall } from '../../aws/client.ts'
import type { Config } from '../../config.ts'
import { formatTable } from '../format.ts'
import type { FollowedKey, Measurements } from './measure.ts'
import { orderOf, type Sighting, type WatchedImport, type WatchedKey } from './watch-minting.ts'

/** The description of a run, besides its figures. */
export interface Circumstances {
  readonly config: Pick<
    Config,
    'region' | 'apiGatewayEndpoint' | 'apiProbeUrl' | 'callsPerSecond' | 'mintMode'
  >
  readonly besideServer: boolean
  /** The data plane was asked. */
  readonly probed: boolean
  /** The run ended by itself, and all was measured. */
  readonly complete: boolean
  readonly at: number
}

interface Spread {
  readonly median: number
  readonly p90: number
  readonly max: number
}

/** @returns `null`: there is no figure */
export function spreadOf(figures: readonly number[]): Spread | null {
  const sorted = figures.toSorted((a, b) => a - b)
  const at = (part: number) => sorted[Math.ceil(part * sorted.length) - 1]
  const [median, p90, max] = [at(0.5), at(0.9), sorted.at(-1)]
  if (median === undefined || p90 === undefined || max === undefined) return null
  return { median: Math.round(median), p90: Math.round(p90), max: Math.round(max) }
}

const rounded = (ms: number | null) => ms && Math.round(ms)
const isSuccess = ({ status }: AwsCall) => status !== null && status >= 200 && status < 300

/**
 * Returns the figures of a run as JSON for the public: Region, sizes and times, and no id, key, account, name or URL.
 */
export function toJson(measured: Measurements, calls: readonly AwsCall[], about: Circumstances): object {
  const { config, complete, besideServer, probed, at } = about
  return {
    firstkey: pkg.version,
    measured_at: new Date(at).toISOString().slice(0, 13).concat(':00Z'),
    region: config.region,
    /** `other`: an emulator, or a proxy in front of AWS. */
    endpoint: config.apiGatewayEndpoint === undefined ? 'aws' : 'other',
    complete,
    ...{ beside_server: besideServer, mint_mode: config.mintMode, calls_per_second: config.callsPerSecond },
    calls: callFigures(calls).map(({ operation, attempts, byStatus, ms }) => ({
      ...{ operation, attempts, by_status: byStatus, ms },
    })),
    retry_after_seconds: retryAfters(calls),
    steps: measured.steps.map(({ by, keys, ms }) => ({ by, keys, ms: Math.round(ms) })),
    imports: measured.imports.map((one) => {
      const { outcome, keys, attempts, ms, enabled, attached, order, inApiKeys, inPlanKeys } =
        importFigures(one)
      return {
        ...{ outcome, keys, attempts, ms, enabled, attached, order_of_ids: order },
        ...{ get_api_keys: jsonOf(inApiKeys), get_usage_plan_keys: jsonOf(inPlanKeys) },
      }
    }),
    lists: measured.lists.map(({ change, list, seenMs, notYetMs }) => ({
      ...{ change, list, seen_ms: rounded(seenMs), not_yet_ms: rounded(notYetMs) },
    })),
    data_plane: probed
      ? {
          asked_at: config.apiProbeUrl === null ? 'API_BASE_URL' : 'API_PROBE_PATH',
          accepted: turnFigures(measured.accepted),
          refused: turnFigures(measured.refused),
        }
      : null,
  }
}

/** Returns the figures of a run as tables for people. */
export function toTables(measured: Measurements, calls: readonly AwsCall[]): string {
  const tables = [
    formatTable(
      ['CALL', 'ATTEMPTS', 'OK', '429', '409', 'OTHER', 'MEDIAN MS', 'P90 MS', 'MAX MS'],
      callFigures(calls).map(({ operation, attempts, ok, byStatus, ms }) => {
        const [throttled, conflicts] = [byStatus['429'] ?? 0, byStatus['409'] ?? 0]
        const other = attempts - ok - throttled - conflicts
        return [operation, ...[attempts, ok, throttled, conflicts, other].map(String), ...cellsOf(ms)]
      }),
    ),
  ]
  if (measured.imports.length > 0)
    tables.push(
      formatTable(
        [
          'IMPORT',
          'MS',
          'ATTEMPTS',
          'ENABLED',
          'ON PLAN',
          'ORDER OF IDS',
          'GETAPIKEYS MS',
          'GETUSAGEPLANKEYS MS',
        ],
        measured.imports.map((one) => {
          const { outcome, keys, ms, attempts, enabled, attached, order, inApiKeys, inPlanKeys } =
            importFigures(one)
          const seen = outcome === 'imported'
          return [
            `${keys} ${keys === 1 ? 'key' : 'keys'}${seen ? '' : ` (${outcome})`}`,
            ...[
              ms ?? '-',
              attempts,
              seen ? `${enabled} of ${keys}` : '-',
              seen ? `${attached} of ${keys}` : '-',
            ].map(String),
            ...[order ?? '-', between(inApiKeys), between(inPlanKeys)],
          ]
        }),
      ),
    )
  if (measured.lists.length > 0)
    tables.push(
      formatTable(
        ['LIST', 'CHANGE', 'SHOWN AFTER MS'],
        measured.lists.map(({ list, change, seenMs, notYetMs }) => [
          ...[list, `key ${change}`, between({ seenAt: seenMs, notYetAt: notYetMs })],
        ]),
      ),
    )
  for (const [turns, verdict, other] of [
    [measured.accepted, 'ACCEPTED', 'REFUSED'],
    [measured.refused, 'REFUSED', 'ACCEPTED'],
  ] as const) {
    if (turns.length === 0) continue
    tables.push(
      formatTable(
        [
          verdict === 'ACCEPTED' ? 'KEY MADE BY' : 'DELETED KEY MADE BY',
          ...['KEYS ASKED', 'SETTLED', `FIRST ${verdict} MS: MEDIAN`, 'MAX', `LAST ${other} MS`],
        ],
        turnFigures(turns).map(({ by, keys, asked, settled, first_ms, last_ms }) => [
          ...[by === 'calls' ? 'two calls' : `import of ${keys}`, String(asked), String(settled)],
          ...[String(first_ms?.median ?? '-'), String(first_ms?.max ?? '-'), String(last_ms ?? '-')],
        ]),
      ),
    )
  }
  const waits = Object.entries(retryAfters(calls)).map(([seconds, times]) => `${seconds} s (${times} times)`)
  tables.push(`Retry-After: ${waits.length === 0 ? 'none seen' : waits.join(', ')}\n`)
  return tables.join('\n')
}

function callFigures(calls: readonly AwsCall[]) {
  const byOperation = [...Map.groupBy(calls, ({ operation }) => operation)].sort(([a], [b]) =>
    a.localeCompare(b),
  )
  return byOperation.map(([operation, attempts]) => {
    const answered = attempts.filter(isSuccess)
    const byStatus = Object.fromEntries(
      [...Map.groupBy(attempts, ({ status }) => String(status ?? 'none'))].map(([status, all]) => [
        ...[status, all.length],
      ]),
    ) as Record<string, number>
    return {
      ...{ operation, attempts: attempts.length, ok: answered.length, byStatus },
      ms: spreadOf(answered.map(({ ms }) => ms)),
    }
  })
}

/** Returns how often each value of `Retry-After` came. One that is no number is left out. */
function retryAfters(calls: readonly AwsCall[]): Record<string, number> {
  const values = calls.flatMap(({ retryAfter }) => (/^\d{1,6}$/.test(retryAfter ?? '') ? [retryAfter] : []))
  return Object.fromEntries([...Map.groupBy(values, String)].map(([value, all]) => [value, all.length]))
}

function importFigures(one: WatchedImport) {
  const { outcome, keys, attempts, endedAt } = one
  const sent = attempts.findLast(isSuccess)
  /** When the last of these keys was seen, and the last look that lacked one; since the import. */
  const sighting = (some: readonly WatchedKey[], list: 'inApiKeys' | 'inPlanKeys'): Sighting => {
    const all = some.map((key) => key[list])
    const seen = all.map(({ seenAt }) => seenAt)
    // An earlier import of the same keys may have failed.
    const notYet = all.flatMap(({ notYetAt }) => (notYetAt !== null && notYetAt > endedAt ? notYetAt : []))
    return {
      seenAt: seen.length === 0 || seen.includes(null) ? null : Math.max(...seen.map(Number)) - endedAt,
      notYetAt: notYet.length === 0 ? null : Math.max(...notYet) - endedAt,
    }
  }
  // A key that was attached by a repair was on the plan later.
  const attached = keys.filter((key) => key.attached)
  return {
    ...{ outcome, keys: keys.length, attempts: attempts.length, ms: rounded(sent?.ms ?? null) },
    enabled: keys.filter((key) => key.enabled).length,
    attached: attached.length,
    order: orderOf(one),
    ...{ inApiKeys: sighting(keys, 'inApiKeys'), inPlanKeys: sighting(attached, 'inPlanKeys') },
  }
}

const jsonOf = ({ seenAt, notYetAt }: Sighting) => ({
  ...{ seen_ms: rounded(seenAt), not_yet_ms: rounded(notYetAt) },
})

/** The bounds of a change that was seen: "90 to 340"; "at most 90". */
function between({ seenAt, notYetAt }: Sighting): string {
  if (seenAt === null) return 'not seen'
  return notYetAt === null
    ? `at most ${Math.round(seenAt)}`
    : `${Math.round(notYetAt)} to ${Math.round(seenAt)}`
}

function turnFigures(turns: readonly FollowedKey[]) {
  return [...Map.groupBy(turns, ({ by, keys }) => `${by} ${keys}`).values()].flatMap((group) => {
    const [first] = group
    if (first === undefined) return []
    const last = group.flatMap(({ lastMs }) => lastMs ?? [])
    return {
      ...{ by: first.by, keys: first.keys, asked: group.length },
      settled: group.filter(({ settled }) => settled).length,
      requests: group.reduce((sum, { requests }) => sum + requests, 0),
      unclear: group.reduce((sum, { unclear }) => sum + unclear, 0),
      first_ms: spreadOf(group.flatMap(({ firstMs }) => firstMs ?? [])),
      last_ms: last.length === 0 ? null : Math.round(Math.max(...last)),
    }
  })
}

const cellsOf = (spread: Spread | null) =>
  [spread?.median, spread?.p90, spread?.max].map((figure) => String(figure ?? '-'))
