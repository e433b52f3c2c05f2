import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { letLoose, type Outcome } from './agents.ts'
import { type BenchProcess, startProcess } from './process.ts'
import { apiUrlOf } from './server.ts'
import type { StartSubject } from './subjects.ts'
import { sum } from './sum.ts'
import { warmUp } from './warm-up.ts'

const GOOD_MS = 5_000
/** The number of measurements, one after the other, of one agent alone. A single one would depend on random latency. */
export const ALONE_TIMES = 30

/** The emulator's state, from `/_local/state`. */
interface State {
  readonly keys: { id: string; name: string }[]
  readonly answers: Record<string, Record<string, number>>
  readonly busyMs: Record<string, number>
  readonly concurrentChanges: number
}

/** The result of one burst. */
export interface Row {
  readonly name: string
  readonly agents: number
  readonly outcomes: readonly Outcome[]
  /** The number of agents whose key the data plane accepts. */
  readonly working: number
  /** The number of these that received their key within {@link GOOD_MS}. */
  readonly good: number
  readonly state: State
  readonly memoryMb: number | undefined
  /** For one agent alone: its time in milliseconds without the time that its two calls took in the emulator. */
  readonly own: readonly number[]
}

/** Starts an emulator and a subject, and registers `agents` at the same time. */
export async function measure(name: string, start: StartSubject, agents: number): Promise<Row> {
  const gateway = await startProcess('emulator/main.ts', ['--port', '0', '--quotas', '--latency'], {})
  const subject = await start(gateway)
  const secret = subject.secret()
  await warmUp(gateway.url)
  // Lets the start-up finish. The subject has not registered anything yet.
  await sleep(2_000)
  const before = await readState(gateway)
  const outcomes: Outcome[] = []
  const own: number[] = []
  /** The agents' URLs, spread over the subject's processes in turn. */
  const targets = Array.from(
    { length: agents > 1 ? agents : ALONE_TIMES },
    (_, i) => subject.urls[i % subject.urls.length] ?? '',
  )
  if (agents > 1) outcomes.push(...(await letLoose(targets, secret)))
  else {
    for (const target of targets) {
      const [{ busyMs: earlier }] = [await readState(gateway)]
      const [outcome] = await letLoose([target], secret)
      if (outcome === undefined) continue
      const { busyMs } = await readState(gateway)
      const calls = ['CreateApiKey', 'CreateUsagePlanKey']
      outcomes.push(outcome)
      own.push(outcome.ms - sum(calls.map((call) => (busyMs[call] ?? 0) - (earlier[call] ?? 0))))
      await sleep(300) // The quotas refill.
    }
  }
  // Lets work that continues after the responses finish, such as clean-up.
  await sleep(3_000)
  const limit = pLimit(50)
  const works = await Promise.all(outcomes.map((outcome) => limit(() => opens(gateway.url, outcome))))
  const after = await readState(gateway)
  const memoryMb = subject.memoryMb()
  await subject.stop()
  await gateway.stop()
  const answers: State['answers'] = {}
  for (const [operation, byStatus] of Object.entries(after.answers)) {
    const earlier = before.answers[operation] ?? {}
    answers[operation] = Object.fromEntries(
      Object.entries(byStatus).map(([status, count]) => [status, count - (earlier[status] ?? 0)]),
    )
  }
  return {
    name,
    agents,
    outcomes,
    working: works.filter(Boolean).length,
    good: works.filter((ok, i) => ok && (outcomes[i]?.ms ?? Number.POSITIVE_INFINITY) <= GOOD_MS).length,
    state: { ...after, answers },
    memoryMb,
    own,
  }
}

async function opens(gatewayUrl: string, { key }: Outcome): Promise<boolean> {
  if (key === undefined) return false
  const response = await fetch(apiUrlOf(gatewayUrl), { headers: { 'x-api-key': key } })
  await response.arrayBuffer()
  return response.status === 200
}

async function readState(gateway: BenchProcess): Promise<State> {
  return (await (await fetch(`${gateway.url}/_local/state`)).json()) as State
}
