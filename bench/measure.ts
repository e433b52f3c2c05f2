import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { letLoose, type Outcome } from './agents.ts'
import { type BenchProcess, startProcess } from './process.ts'
import type { StartSubject } from './subjects.ts'
import { sum } from './sum.ts'

const GOOD_MS = 5_000
/** One agent alone is measured so often, one after the other: a single time would be the luck of the latencies. */
export const ALONE_TIMES = 30

/** What the gateway saw. */
interface State {
  readonly keys: { id: string; name: string }[]
  readonly answers: Record<string, Record<string, number>>
  readonly busyMs: Record<string, number>
  readonly concurrentChanges: number
}

/** What one burst came to. */
export interface Row {
  readonly name: string
  readonly agents: number
  readonly outcomes: readonly Outcome[]
  /** How many were given a key that the data plane lets in, and how many of them in time. */
  readonly working: number
  readonly good: number
  readonly state: State
  readonly memoryMb: number | undefined
  /** One agent alone: its time less the time that its two calls took at the gateway, in milliseconds. */
  readonly own: readonly number[]
}

/** Lets `agents` come together at a subject and a gateway that are started for them alone. */
export async function measure(name: string, start: StartSubject, agents: number): Promise<Row> {
  const gateway = await startProcess('emulator/main.ts', ['--port', '0', '--quotas', '--latency'], {})
  const subject = await start(gateway)
  const secret = subject.secret()
  // The process is idle, and has not yet done what is measured.
  await sleep(2_000)
  const before = await readState(gateway)
  const outcomes: Outcome[] = []
  const own: number[] = []
  /** In turns at every process of the subject. */
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
  // What goes on behind the answers comes to an end, and a clean-up has the time that it needs.
  await sleep(3_000)
  const line = pLimit(50)
  const works = await Promise.all(outcomes.map((outcome) => line(() => opens(gateway.url, outcome))))
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
  const answer = await fetch(`${gatewayUrl}/execute-api/demo/prod/hello`, { headers: { 'x-api-key': key } })
  await answer.arrayBuffer()
  return answer.status === 200
}

async function readState(gateway: BenchProcess): Promise<State> {
  return (await (await fetch(`${gateway.url}/_local/state`)).json()) as State
}
