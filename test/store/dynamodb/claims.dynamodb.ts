import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SERVICE } from '../../../src/store/audit.ts'
import { openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable } from '../../support/dynamodb/new-table.ts'
import { dying, PROOF, virtualToken } from '../dying-registration.ts'
import { lease, newRegistration } from '../store-contract.ts'

const ending = { failure: 'upstream_unavailable', now: 2_000, sweepAt: null } as const

for (const kind of ['cut', 'half', 'throttle', 'conflict'] as const)
  test(`DynamoDB: the transaction that claims a proof fails (${kind}): its repetition does not find its own claim, and what fails in the end costs nothing`, async (t) => {
    const table = await newTable()
    const proxy = await startFaultyProxy(t, table.endpoint)
    const store = await openDynamoDbStore({ ...table, endpoint: proxy.endpoint })
    t.after(() => store.close())
    await store.putVirtualToken(virtualToken, SERVICE)
    const order = (times: number) => proxy.order({ operation: 'TransactWriteItems', kind, times })

    order(1)
    assert.deepEqual(await store.beginRegistrations([dying], lease), [{ outcome: 'begun' }])
    assert.equal(proxy.faultCount(), 1)
    order(1)
    const undone = await store.failRegistrations([{ id: dying.id, owner: lease.owner }], ending)
    assert.deepEqual([...undone], [dying.id])
    assert.equal((await store.getToken(virtualToken.id))?.uses, 0)

    // After an error the caller does not know which it is, and undoes.
    const second = { ...dying, id: 'reg_second' }
    order(1_000)
    await assert.rejects(store.beginRegistrations([second], lease))
    proxy.clearFaults()
    await store.failRegistrations([{ id: second.id, owner: lease.owner }], ending)
    assert.equal((await store.getToken(virtualToken.id))?.uses, 0)
    assert.equal(await store.findLiveByName(virtualToken.id, dying.name), undefined)

    const third = { ...newRegistration(virtualToken.id), federated: { proof: PROOF, holdsName: true } }
    assert.deepEqual(await store.beginRegistrations([third], lease), [{ outcome: 'begun' }])
  })

for (const kind of ['cut', 'half', 'throttle', 'conflict'] as const)
  test(`DynamoDB: an access token whose transaction fails (${kind}) is issued once`, async (t) => {
    const table = await newTable()
    const proxy = await startFaultyProxy(t, table.endpoint)
    const store = await openDynamoDbStore({ ...table, endpoint: proxy.endpoint })
    t.after(() => store.close())
    await store.putVirtualToken(virtualToken, SERVICE)
    const { id: tokenId } = virtualToken
    const issue = (secret: string) =>
      store.createAccessToken(
        { secretHash: Buffer.from(secret.padEnd(32)), tokenId, expiresAt: 600_000 },
        ...([PROOF, SERVICE, 1_000] as const),
      )
    proxy.order({ operation: 'TransactWriteItems', kind, times: 1 })
    assert.equal(await issue('first'), 'created')
    assert.equal(proxy.faultCount(), 1)
    assert.equal(await issue('second'), 'replayed')
  })
