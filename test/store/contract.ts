import { auditContract } from './audit-contract.ts'
import { clocksContract } from './clocks-contract.ts'
import { deliveryContract } from './delivery-contract.ts'
import { edgesContract } from './edges-contract.ts'
import { federationContract } from './federation-contract.ts'
import { lifecycleContract } from './lifecycle-contract.ts'
import { rotationsContract } from './rotations-contract.ts'
import { type OpenStore, storeContract } from './store-contract.ts'
import { suspensionsContract } from './suspensions-contract.ts'
import { usesContract } from './uses-contract.ts'

/**
 * Registers the tests of the store contract. A store is complete when it passes them and {@link readsContract}, which also
 * needs a way to make its database reject writes.
 */
export function contract(name: string, open: OpenStore): void {
  storeContract(name, open)
  rotationsContract(name, open)
  lifecycleContract(name, open)
  usesContract(name, open)
  federationContract(name, open)
  edgesContract(name, open)
  clocksContract(name, open)
  deliveryContract(name, open)
  auditContract(name, open)
  suspensionsContract(name, open)
}
