import { setTimeout as sleep } from 'node:timers/promises'
import type { Service } from './service.ts'

/**
 * Sends the first request, and the others while API Gateway makes its key, which it does not finish before all of them wait in the
 * queue. So they are minted together, after the first, however long this machine takes to send and to read them.
 */
export async function sendTogether(
  { gateway, deps }: Service,
  [first, ...others]: readonly (() => Promise<Response>)[],
): Promise<Response[]> {
  if (first === undefined) return []
  const { onCall } = gateway
  const { promise: reached, resolve } = Promise.withResolvers<void>()
  let areSettled = false
  gateway.onCall = async (operation, moment) => {
    onCall(operation, moment)
    if (moment !== 'arrived' || (operation !== 'CreateApiKey' && operation !== 'ImportApiKeys')) return
    gateway.onCall = onCall
    resolve()
    while (deps.mintQueue.waiting().length < others.length && !areSettled) await sleep(1)
  }
  const answer = first()
  await Promise.race([reached, answer])
  const answers = await Promise.all(others.map((send) => send()))
  areSettled = true
  return [await answer, ...answers]
}
