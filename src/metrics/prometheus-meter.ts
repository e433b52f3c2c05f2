import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from '@prometheus-io/client'
import { METERED_OPERATIONS, type Meter, OUTCOMES, type ProcessState, type WorkInStore } from '../meter.ts'

/** The upper bounds of the durations that are told apart, in seconds: from a read of the store to the limit of a request. */
const BUCKETS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30]
/** The metrics of Node.js whose names break Prometheus' rules: gauges in `_total`, and a type in the name. */
const MISNAMED = [
  ...['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'],
  ...['nodejs_eventloop_utilization_histogram', 'nodejs_eventloop_utilization_summary'],
]
/** The longest interval of a timer (ms): what is removed need not be measured. */
const NEVER_MS = 2 ** 31 - 1

export interface PrometheusMeter extends Meter {
  readonly contentType: string
  /** Returns all metrics in Prometheus' text format. Calls nothing outside this process. */
  render(): Promise<string>
}

export interface PrometheusOptions {
  /** The names of the plans: a metric names no other, so that its series are bounded. */
  readonly plans: readonly string[]
  readonly version: string
  readonly store: 'sqlite' | 'dynamodb'
  /** API Gateway's quota of keys for each account and Region. */
  readonly keyQuota: number
}

/** Creates the meter of a process as metrics of Prometheus, with those of Node.js. */
export function createPrometheusMeter({
  plans,
  version,
  store,
  keyQuota,
}: PrometheusOptions): PrometheusMeter {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, eventLoopUtilizationTimeout: NEVER_MS })
  for (const name of MISNAMED) registry.removeSingleMetric(name)

  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter({ name: `firstkey_${name}`, help, labelNames: [...labelNames], registers })
  const histogram = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Histogram({
      name: `firstkey_${name}`,
      help,
      labelNames: [...labelNames],
      buckets: BUCKETS,
      registers,
    })

  const result = ['outcome', 'code'] as const
  const requests = {
    register: counter('registrations_total', 'Requests to register, by their end.', ['plan', ...result]),
    rotate: counter('rotations_total', 'Requests to rotate a key, by their end.', ['plan', ...result]),
    revoke: counter('revocations_total', 'Requests to revoke a registration, by their end.', result),
    exchange: counter('token_exchanges_total', 'Requests to the token endpoint, by their end.', result),
  }
  const durations = histogram(
    'request_duration_seconds',
    'Time of requests to register, rotate, revoke or exchange until the response was sent.',
    ['operation', 'outcome'],
  )
  const undone = counter(
    'registrations_undone_total',
    'Registrations and rotations that were undone, by the reason.',
    ['reason'],
  )
  const calls = counter(
    'upstream_calls_total',
    'Attempts of calls to API Gateway; status "none": no response.',
    ['operation', 'status'],
  )
  const callDurations = histogram(
    'upstream_call_duration_seconds',
    'Time of an attempt of a call to API Gateway.',
    ['operation'],
  )
  const waits = histogram(
    'upstream_wait_seconds',
    "Time for which an attempt waited for the account's quota before it was sent. Those that were given up meanwhile are not in it.",
    [],
  )
  const handedOut = counter(
    'pool_handed_out_total',
    'Registrations and rotations that took a key that was made beforehand.',
    ['plan'],
  )
  const commits = counter('store_commits_total', 'Write transactions of the store, by their end.', [
    'outcome',
  ])
  const commitDurations = histogram(
    'store_commit_duration_seconds',
    'Time of a write transaction of the store.',
    [],
  )

  // A series that begins with its first event hides that event from rate() and increase().
  for (const operation of METERED_OPERATIONS)
    for (const outcome of OUTCOMES) durations.zero({ operation, outcome })
  for (const outcome of ['succeeded', 'replayed'] as const) {
    for (const plan of plans) {
      handedOut.inc({ plan }, 0)
      requests.register.inc({ plan, outcome, code: '' }, 0)
      requests.rotate.inc({ plan, outcome, code: '' }, 0)
    }
  }
  requests.revoke.inc({ outcome: 'succeeded', code: '' }, 0)
  requests.exchange.inc({ outcome: 'succeeded', code: '' }, 0)
  for (const outcome of ['succeeded', 'failed']) commits.inc({ outcome }, 0)

  let state: ProcessState | undefined
  let work: WorkInStore | null = null

  /** A value that is read for each scrape. @param read `null`: it is not known, and the metric has no value */
  function gauge(name: string, help: string, read: () => number | null): void {
    new Gauge({
      name: `firstkey_${name}`,
      help,
      registers,
      collect() {
        const value = read()
        if (value === null) this.remove()
        else this.set(value)
      },
    })
  }
  const ofState = (read: (from: ProcessState) => number | boolean) => () =>
    state === undefined ? null : Number(read(state))
  const ofWork = (read: (from: WorkInStore) => number | null) => () => (work === null ? null : read(work))

  gauge(
    'queue_length',
    'Registrations that wait to be minted.',
    ofState(({ queue }) => queue().length),
  )
  gauge(
    'queue_oldest_age_seconds',
    'Time for which the oldest registration in the queue has waited.',
    ofState(({ queue }) => queue().oldestMs / 1_000),
  )
  gauge(
    'requests_in_flight',
    'Requests for keys in progress.',
    ofState(({ inFlight }) => inFlight()),
  )
  gauge(
    'ready',
    '1: the latest readiness check succeeded, and no fault that lasts is known.',
    ofState(({ isReady }) => isReady()),
  )
  gauge(
    'duty_held',
    '1: this process does the background work of all that share the store.',
    ofState(({ holdsDuty }) => holdsDuty()),
  )
  gauge(
    'clock_ahead_seconds',
    "Difference from AWS's clock, if it is more than a minute.",
    ofState(({ clockAhead }) => clockAhead() / 1_000),
  )
  gauge(
    'trust_file_refused',
    '1: the trust file has faults, and an earlier one is in force.',
    ofState(({ trustFileIsRefused }) => trustFileIsRefused()),
  )
  gauge(
    'registrations_pending',
    'Registrations and rotations that are begun and not finished.',
    ofWork(({ pending }) => pending),
  )
  gauge(
    'registrations_in_doubt',
    'Registrations and rotations for which it is open whether the caller received the key.',
    ofWork(({ inDoubt }) => inDoubt),
  )
  gauge(
    'keys_ending',
    'Keys that have come to their end and are not deleted yet.',
    ofWork(({ ending }) => ending),
  )
  gauge(
    'deletions_failing',
    'Keys whose latest deletion failed. It is repeated.',
    ofWork(({ failing }) => failing),
  )
  gauge(
    'account_keys',
    'API keys of the account and Region.',
    ofWork(({ accountKeys }) => accountKeys),
  )
  gauge('account_keys_limit', 'API keys that an account can have in a Region.', () => keyQuota)
  new Gauge({
    name: 'firstkey_keys_expiring',
    help: 'Keys that expire within so many days.',
    labelNames: ['days'],
    registers,
    collect() {
      this.reset()
      for (const { days, count } of work?.expiring ?? []) this.set({ days }, count)
    },
  })
  new Gauge({
    name: 'firstkey_pool_keys',
    help: 'Keys that are made beforehand, by plan and state.',
    labelNames: ['plan', 'state'],
    registers,
    collect() {
      this.reset()
      for (const { plan, counts } of state?.pool() ?? [])
        if (plans.includes(plan))
          for (const [name, count] of Object.entries(counts)) this.set({ plan, state: name }, count)
    },
  })
  new Gauge({
    name: 'firstkey_pool_size',
    help: 'Keys of the pool that are to be ready, by plan.',
    labelNames: ['plan'],
    registers,
    collect() {
      this.reset()
      for (const { plan, size } of state?.pool() ?? []) if (plans.includes(plan)) this.set({ plan }, size)
    },
  })
  new Gauge({
    name: 'firstkey_build_info',
    help: 'The version of firstkey and the kind of its store.',
    labelNames: ['version', 'store'],
    registers,
  }).set({ version, store }, 1)

  const planLabel = (plan: string | null) => (plan !== null && plans.includes(plan) ? plan : '')

  return {
    request({ operation, plan, outcome, code, ms }) {
      const labels = { outcome, code: code ?? '' }
      if (operation === 'register' || operation === 'rotate')
        requests[operation].inc({ plan: planLabel(plan), ...labels })
      else requests[operation].inc(labels)
      durations.observe({ operation, outcome }, ms / 1_000)
    },
    call({ operation, status, ms, waitedMs }) {
      calls.inc({ operation, status: status ?? 'none' })
      callDurations.observe({ operation }, ms / 1_000)
      waits.observe(waitedMs / 1_000)
    },
    commit({ ms, succeeded }) {
      commits.inc({ outcome: succeeded ? 'succeeded' : 'failed' })
      commitDurations.observe(ms / 1_000)
    },
    handedOut: (plan) => handedOut.inc({ plan: planLabel(plan) }),
    undone: (reason, count) => undone.inc({ reason }, count),
    counted(latest) {
      work = latest
    },
    watch(process) {
      state = process
    },
    contentType: registry.contentType,
    render: () => registry.metrics(),
  }
}
