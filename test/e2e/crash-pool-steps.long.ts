import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import type { OperationName } from '../../emulator/operation-names.ts'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { assertInvariants, type ReceivedCredential } from '../support/invariants.ts'
import { POOL_SIZES, type PoolWorld, poolWorld } from '../support/pool-crashes.ts'
import { poolSettled } from '../support/pool-judge.ts'
import { FAST_SERVER, startServer } from '../support/server-process.ts'
import { unlimitedPolicy } from '../support/service.ts'

interface Step {
  readonly name: string
  readonly operation: OperationName
  /** Comes before the server that is killed: a pool is full, and its holder dead or alive. */
  readonly before: 'nothing' | 'a dead holder' | 'a full pool'
  /** Makes the call happen. @returns the credential that was handed out, if one was */
  readonly provoke?: (setting: Setting) => Promise<ReceivedCredential | undefined>
}

interface Setting extends PoolWorld {
  readonly register: (url: string) => Promise<ReceivedCredential & { readonly ready?: boolean }>
  /** The server that is killed. */
  readonly url: string
}

const steps: Step[] = [
  { name: 'refill', operation: 'ImportApiKeys', before: 'nothing' },
  { name: 'check after the import', operation: 'GetUsagePlanKeys', before: 'nothing' },
  { name: 'refill of single keys', operation: 'CreateApiKey', before: 'nothing', provoke: breakImports },
  {
    name: 'attachment of single keys',
    operation: 'CreateUsagePlanKey',
    before: 'nothing',
    provoke: breakImports,
  },
  {
    name: 'renaming',
    operation: 'UpdateApiKey',
    before: 'a full pool',
    provoke: ({ register, url }) => register(url),
  },
  {
    name: 'refill after a hand-out',
    operation: 'ImportApiKeys',
    before: 'a full pool',
    provoke: ({ register, url }) => register(url),
  },
  { name: 'take-over', operation: 'GetApiKeys', before: 'a dead holder' },
  { name: 'check of a full pool', operation: 'GetApiKeys', before: 'a full pool' },
  {
    name: 'discarding',
    operation: 'DeleteApiKey',
    before: 'a full pool',
    async provoke({ gateway }) {
      for (const key of gateway.account.keys.values()) key.enabled = false
      return undefined
    },
  },
]

describe('kill -9 at every step of the pool: another server finishes it, and no key is lost, dead or left over', {
  concurrency: 4,
}, () => {
  for (const step of steps)
    for (const moment of ['arrived', 'effective'] as const)
      test(`${step.name}: when ${step.operation} is ${moment}`, (t) => crashAt(t, step, moment))
})

async function crashAt(t: TestContext, step: Step, moment: 'arrived' | 'effective'): Promise<void> {
  const world = await poolWorld(t)
  const { gateway, store, judge, env } = world
  const start = () => startServer(t, env, FAST_SERVER)
  const { secret } = await issueBootstrapToken(
    store,
    { ...unlimitedPolicy, plans: ['gold'] },
    SERVICE,
    Date.now(),
  )
  const register: Setting['register'] = async (url) => {
    const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }
    const answer = await fetch(`${url}/register`, {
      method: 'POST',
      headers,
      body: '{"name":"acme-agent","plan":"gold"}',
    })
    assert.equal(answer.status, 201)
    return (await answer.json()) as ReceivedCredential
  }

  let armed = step.before !== 'a full pool'
  let victim: Awaited<ReturnType<typeof start>> | undefined
  if (step.before === 'a dead holder') {
    const holder = await start()
    await poolSettled(gateway, store, POOL_SIZES)
    holder.child.kill('SIGKILL')
    await holder.ended()
  }
  gateway.onCall = (operation, at) => {
    judge.look()
    if (armed && operation === step.operation && at === moment) victim?.child.kill('SIGKILL')
  }
  const received: ReceivedCredential[] = []
  const provoke = async (url: string) => {
    const credential = await step.provoke?.({ ...world, register, url })
    if (credential !== undefined) received.push(credential)
  }
  if (step.before !== 'a full pool') await provoke('')
  victim = await start()
  if (step.before === 'a full pool') {
    await poolSettled(gateway, store, POOL_SIZES)
    armed = true
    await provoke(victim.url)
  }
  assert.equal(await victim.ended(), 'SIGKILL')
  armed = false
  gateway.faults.clear()

  const heir = await start()
  await poolSettled(gateway, store, POOL_SIZES)
  await judge.verdict()
  await assertInvariants(gateway, store, received)
  for (let n = 0; n < POOL_SIZES.gold; n++) {
    const credential = await register(heir.url)
    assert.equal(credential.ready, true)
    received.push(credential)
  }
  for (const { api_key_value } of received) {
    const headers = { 'x-api-key': api_key_value }
    assert.equal((await fetch(`${gateway.url}/execute-api/demo/prod/hello`, { headers })).status, 200)
  }
  await poolSettled(gateway, store, POOL_SIZES)
  await assertInvariants(gateway, store, received)
  await judge.verdict()
}

async function breakImports({ gateway }: Setting): Promise<undefined> {
  gateway.faults.order({ operation: 'ImportApiKeys', when: 'before', kind: 'fail', times: 1_000 })
}
