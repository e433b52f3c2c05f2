// Works on the registration of a federated caller in the store file that is the first argument: "begin" begins it, "fail" fails
// it, "exchange" claims its proof for an access token, "hand out" gives it a pool key. Kills itself before the n-th statement, n being the third argument.
import { DatabaseSync, StatementSync } from 'node:sqlite'
import { hashSecret } from '../../src/auth/secret-hash.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { dying, handingOut, lease, PROOF } from '../store/dying-registration.ts'

const [, , path = '', step, at] = process.argv
const store = openSqliteStore(path)
let left = Number(at)

function dieBefore(prototype: object, methods: readonly string[]): void {
  for (const method of methods) {
    const original: unknown = Reflect.get(prototype, method)
    if (typeof original !== 'function') throw new Error(`${method} is no method`)
    Reflect.set(prototype, method, function (this: unknown, ...args: unknown[]) {
      left -= 1
      if (left === 0) process.kill(process.pid, 'SIGKILL')
      return original.apply(this, args)
    })
  }
}
dieBefore(StatementSync.prototype, ['run', 'get', 'all'])
dieBefore(DatabaseSync.prototype, ['exec'])

switch (step) {
  case 'begin':
    await store.beginRegistrations([dying], lease)
    break
  case 'fail':
    await store.failRegistrations([{ id: dying.id, owner: lease.owner }], {
      ...{ failure: 'upstream_unavailable', now: 2_000, sweepAt: null },
    })
    break
  case 'hand out':
    await store.handOutPoolKeys([handingOut], 2_000)
    break
  case 'exchange': {
    const token = { secretHash: hashSecret('access token'), tokenId: dying.tokenId, expiresAt: 600_000 }
    await store.createAccessToken(token, PROOF, SERVICE, 1_000)
  }
}
// It has survived: the statements of closing do not count.
left = Number.POSITIVE_INFINITY
await store.close()
