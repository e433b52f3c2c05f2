import assert from 'node:assert/strict'
import { test } from 'node:test'
import { long } from '../../support/long.ts'
import { poolKeysIn, startPooled, untilReady } from '../../support/pool-states.ts'
import type { Service } from '../../support/service.ts'

test('a burst during a refill waits for no more than the import that is under way', long, async (t) => {
  const empty = await startPooled(t, {
    env: { POOL: '' },
    gateway: { latency: { ImportApiKeys: 1_500, CreateApiKey: 50 } },
  })
  const { gateway } = empty
  const { secret } = await empty.token({ plans: ['free'] })
  const { promise: started, resolve: start } = Promise.withResolvers<Service>()
  let answers: Promise<Response[]> | undefined
  gateway.onCall = (operation) => {
    if (operation !== 'ImportApiKeys') return
    answers ??= started.then(({ register }) =>
      Promise.all(Array.from({ length: 30 }, () => register(secret))),
    )
  }
  const service = await startPooled(t, {
    beside: empty,
    env: { POOL: 'gold:5,free:5' },
    timing: { poolPatience: 60_000, upstreamCall: 10_000, undo: 30_000 },
  })
  start(service)
  await untilReady(service, 10)
  for (const answer of (await answers) ?? []) assert.equal(answer.status, 201)
  const serialsOf = (isMeant: (name: string) => boolean) =>
    [...gateway.account.keys.values()].filter(({ name }) => isMeant(name)).map(({ serial }) => serial)
  const ofBurst = serialsOf((name) => name.startsWith('reg_'))
  assert.equal(ofBurst.length, 30)
  assert.equal(poolKeysIn(gateway).length, 10)
  assert.ok(
    Math.max(...ofBurst) < Math.min(...serialsOf((name) => name.endsWith(' gold'))),
    'the other plan is filled afterwards',
  )
})
