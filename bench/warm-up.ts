import { register } from './agents.ts'
import { statusOf } from './first-use.ts'
import { apiUrlOf } from './server.ts'

const ROUNDS = 40
const AGENTS = 50

/**
 * Does what agents do, against the local gateway alone, until this program and the gateway's API are compiled: agents elsewhere
 * would not wait for that. The service takes no part, and is as cold as after its start.
 */
export async function warmUp(gatewayUrl: string): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const agents = Array.from({ length: AGENTS }, async () => {
      await register(gatewayUrl, 'none')
      await statusOf(apiUrlOf(gatewayUrl), 'none')
    })
    await Promise.all(agents)
  }
}
