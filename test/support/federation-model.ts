import assert from 'node:assert/strict'
import fc from 'fast-check'
import { SERVICE } from '../../src/store/audit.ts'
import { hasUseLeft, type NewRegistration, type Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import {
  newFederated,
  newFederatedRotation,
  newProof,
  newVirtualToken,
} from '../store/federation-contract.ts'
import { newCompletion } from '../store/store-contract.ts'
import { assertPlaces } from './invariants.ts'

const OWNERS = ['worker', 'recovery']
const STEP_MS = 100

const steps = [
  'begin',
  'begin',
  'complete',
  'complete',
  'wait',
  'fail',
  'undo',
  'recover',
  'displace',
  'forget',
] as const
const ends = [
  'answer',
  'deliver',
  'withdraw',
  'rotate',
  'revoke',
  'gone',
  'expire',
  'delete',
  'suspend',
  'limit',
] as const

/** A step: what happens, to which record, and a number that chooses its variant. */
const step = fc.tuple(fc.constantFrom(...steps, ...ends), fc.nat(), fc.nat(63))

/**
 * Checks that after each step of random histories of one identity its places, names and proofs agree with its records, and that
 * each refusal was true.
 */
export function checkFederation(
  open: () => Promise<Store>,
  { numRuns, seed }: { numRuns: number; seed: number },
) {
  const history = fc.array(step, { minLength: 20, maxLength: 50 })
  return fc.assert(
    fc.asyncProperty(history, async (all) => {
      const store = await open()
      try {
        await run(store, all)
      } finally {
        await store.close()
      }
    }),
    { numRuns, seed },
  )
}

type Step = readonly [what: (typeof steps)[number] | (typeof ends)[number], which: number, variant: number]

async function run(store: Store, history: readonly Step[]): Promise<void> {
  const token = newVirtualToken({ maxLive: 3 })
  await store.putVirtualToken(token, SERVICE)
  const proofs = Array.from({ length: 5 }, () => newProof(9e12))
  let now = 1_000
  let keys = 0

  const choose = (all: readonly Registration[], which: number) => all[which % Math.max(1, all.length)]

  async function begin(fresh: readonly NewRegistration[]): Promise<void> {
    const outcomes = await store.beginRegistrations(fresh, { owner: 'worker', until: now + 3 * STEP_MS })
    for (const outcome of outcomes) {
      if (outcome.outcome === 'refused') assert.ok(outcome.token && !hasUseLeft(outcome.token))
      const holder = outcome.outcome === 'replayed' ? outcome.holder : null
      const named = outcome.outcome === 'name_taken' ? outcome.registrationId : null
      if (holder !== null) assert.notEqual((await store.getRegistration(holder))?.status, 'failed')
      if (named !== null) assert.equal((await store.getRegistration(named))?.holdsPlace, true)
    }
  }

  function newOne(variant: number): NewRegistration {
    const proof = variant % 3 === 0 ? null : (proofs[variant % proofs.length] ?? null)
    const key = variant % 2 === 0 ? {} : { key: `k${variant % 7}` }
    const expiresAt = variant % 4 === 0 ? now + 5 * STEP_MS : null
    const holdsName = variant % 5 !== 0
    return newFederated(token, {
      name: `n${variant % 2}`,
      proof,
      holdsName,
      createdAt: now,
      expiresAt,
      ...key,
    })
  }

  for (const [what, which, variant] of history) {
    now += STEP_MS
    const all = await store.listRegistrations({ limit: 1_000 })
    const one = choose(all, which)
    const pending = choose(
      all.filter(({ status }) => status === 'pending'),
      which,
    )
    const active = choose(
      all.filter(({ status }) => status === 'active'),
      which,
    )
    switch (what) {
      case 'begin':
        await begin(Array.from({ length: 1 + (variant % 3) }, (_, i) => newOne(variant + 11 * i)))
        break
      case 'rotate': {
        if (one === undefined) break
        const root = one.rotation === null ? one : await store.getRegistration(one.rotation.of)
        const proof = variant % 2 === 0 ? null : (proofs[variant % proofs.length] ?? null)
        const idempotencyKey = variant % 3 === 0 ? {} : { idempotencyKey: `r${keys++}` }
        const expires = variant % 4 === 0 ? { expiresAt: now + 3 * STEP_MS } : {}
        const options = { createdAt: now, overlapMs: (variant % 3) * STEP_MS, ...idempotencyKey, ...expires }
        if (root !== undefined) await begin([newFederatedRotation(root, options, proof)])
        break
      }
      case 'complete':
      case 'wait':
        if (pending !== undefined) {
          const isAwaited = () => what === 'complete'
          await store.completeRegistrations([newCompletion(pending, { owner: 'worker', isAwaited })], now)
        }
        break
      case 'fail':
        for (const owner of OWNERS)
          if (one)
            await store.failRegistrations([{ id: one.id, owner }], {
              failure: 'internal',
              sweepAt: null,
              now,
            })
        break
      case 'undo':
        if (pending) await store.startUndoing([{ id: pending.id, owner: 'worker' }])
        break
      case 'recover': {
        const lease = { owner: 'recovery', until: now + 3 * STEP_MS }
        if (one) await store.takeLeases([one.id], one.status, lease, now)
        break
      }
      case 'displace':
        if (active) await store.displaceUnanswered(active.id)
        break
      case 'forget':
        await store.forgetIdempotency(now - variant * 10)
        break
      case 'answer':
        if (active) await store.markAnswered(active.id, SERVICE, now)
        break
      case 'deliver':
        if (active) await store.markDelivered([active.id], now)
        break
      case 'withdraw':
        if (active)
          await store.withdrawAnswers([active.id], now, { owner: 'recovery', until: now + 3 * STEP_MS })
        break
      case 'revoke':
        if (one) await store.revokeRegistration(one.rotation?.of ?? one.id, SERVICE, now)
        break
      case 'gone':
        if (one) await store.endKeys([one.id], SERVICE, now)
        break
      case 'expire':
        await store.startEndings(
          all.map(({ id }) => id),
          now,
        )
        break
      case 'delete':
        await store.finishEndings(
          all.map(({ id }) => id),
          now,
        )
        break
      case 'suspend':
        if (one) await store.setSuspended(one.rotation?.of ?? one.id, variant % 2 === 0, SERVICE, now)
        break
      case 'limit': {
        const federation = token.federation && {
          ...token.federation,
          maxLive: variant % 4 === 0 ? null : variant % 4,
        }
        await store.putVirtualToken({ ...token, federation }, SERVICE)
        break
      }
    }
    await assertPlaces(store)
  }
}
