import { setTimeout as sleep } from 'node:timers/promises'
import type { Service } from './service.ts'

/**
 * Registers once, and the others while API Gateway makes the key of the first, which it does not finish before all of them wait in
 * the queue. So they are minted together, after the first, however long this machine takes to send and to read them.
 */
export async function registerTogether(
  { gateway, deps, register }: Service,
  secret: string,
  [first, ...others]: readonly object[],
): Promise<Response[]> {
  if (first === undefined) return []
  const { onCall } = gateway
  const { promise: reached, resolve } = Promise.withResolvers<void>()
  let areSettled = false
  gateway.onCall = async (operation, moment) => {
    onCall(operation, moment)
    if (moment !== 'arrived' || (operation !== 'CreateApiKey' && operation !== 'ImportApiKeys')) return
    resolve()
    while (deps.mintQueue.waiting().length < others.length && !areSettled) await sleep(1)
  }
  const answer = register(secret, first)
  await Promise.race([reached, answer])
  gateway.onCall = onCall
  const answers = await Promise.all(others.map((body) => register(secret, body)))
  areSettled = true
  return [await answer, ...answers]
}
