import { hashSecret } from '../../src/auth/secret-hash.ts'
import type { NewPoolKey } from '../../src/store/pool.ts'
import type { BootstrapToken, NewRegistration, Proof } from '../../src/store/records.ts'
import { unlimitedPolicy } from '../support/service.ts'
import { newHandOut } from './pool-keys.ts'
import { lease, newRegistration } from './store-contract.ts'

export { lease }

export const PROOF: Proof = { hash: hashSecret('issuer and jti'), expiresAt: 300_000 }

export const virtualToken: BootstrapToken = {
  ...unlimitedPolicy,
  ...{ id: 'tok_dying', secretHash: hashSecret('virtual'), uses: 0, createdAt: 0, revokedAt: null },
  federation: {
    ...{ issuer: 'https://token.example.com', rule: 'ci', identity: { sub: 'caller' }, maxLive: 1 },
    ...{ onRepeat: 'refuse', overlapMs: 0, nameIsExact: false },
  },
}

export const dying: NewRegistration = {
  ...newRegistration(virtualToken.id),
  id: 'reg_dying',
  federated: { proof: PROOF, holdsName: true },
}

/** A pool key for it. */
export const dyingKey: NewPoolKey = {
  ...{ id: 'pool_dying', plan: dying.plan, usagePlanId: dying.usagePlanId, createdAt: 1_000 },
}

export const handingOut = newHandOut(dyingKey, dying)
