import type { Config } from '../../config.ts'
import type { RegistrationDeps } from '../deps.ts'

/** The dependencies of the upkeep. */
export interface PoolDeps
  extends Pick<
    RegistrationDeps,
    'store' | 'apiGateway' | 'lowPriorityApiGateway' | 'clock' | 'timing' | 'keyProbe' | 'log'
  > {
  readonly config: Pick<Config, 'plans' | 'pool' | 'poolSettleMs' | 'poolMaxAgeMs' | 'mintMode'>
  /** Reports whether registrations wait for keys, or are being minted. */
  readonly isBusy: () => boolean
}
