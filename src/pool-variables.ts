import { z } from 'zod'
import { parseDuration } from './duration.ts'
import { KEY_QUOTA } from './key-quota.ts'
import { showValue } from './show-value.ts'

const EXAMPLE = 'for example gold:50,free:20'

/** The variable `POOL`: the number of keys by the name of their plan. */
export const poolVariable = z.string().transform((text, context): Map<string, number> => {
  const reject = (message: string) => context.addIssue({ code: 'custom', message })
  const sizes = new Map<string, number>()
  for (const part of text.split(',')) {
    const [, plan, size] = part.match(/^\s*([^\s:]+)\s*:\s*(\d{1,9})\s*$/) ?? []
    if (plan === undefined)
      reject(
        `contains ${showValue('POOL', part.trim())}, which must be plan:keys, with a whole number of keys, ${EXAMPLE}`,
      )
    else if (sizes.has(plan)) reject(`names the plan ${showValue('POOL', plan)} twice: use unique names`)
    else sizes.set(plan, Number(size))
  }
  const sum = [...sizes.values()].reduce((all, size) => all + size, 0)
  if (sum > KEY_QUOTA)
    reject(
      `asks for ${sum} keys, and an account of AWS has room for ${KEY_QUOTA} in a Region: use smaller numbers, ${EXAMPLE}`,
    )
  return sizes
})

/**
 * A variable with a duration, as in `90s` or `12h`. The result is in milliseconds.
 * @param unit that of a number alone
 */
export function durationVariable(unit: 's' | 'h', least: string, most: string, byDefault: string) {
  const text = `must be a duration from ${least} to ${most}, for example ${byDefault}`
  const toMs = (value: string) => (/^0[smh]?$/.test(value) ? 0 : parseDuration(value))
  const [from, to] = [toMs(least), toMs(most)]
  return z
    .string()
    .transform((value, context): number => {
      const ms = toMs(/^\d+$/.test(value) ? `${value}${unit}` : value)
      if (ms !== undefined && from !== undefined && to !== undefined && ms >= from && ms <= to) return ms
      context.addIssue({ code: 'custom', message: text })
      return z.NEVER
    })
    .prefault(byDefault)
}
