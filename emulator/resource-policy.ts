import { BlockList, isIP } from 'node:net'
import { z } from 'zod'
import { wildcard } from './iam-policy.ts'
import { ACCOUNT_ID } from './rest-apis.ts'

const list = z.union([z.string().transform((one) => [one]), z.array(z.string())])
const document = z.looseObject({
  Statement: z.preprocess(
    (value) => [value].flat(),
    z.array(
      z.looseObject({
        Effect: z.enum(['Allow', 'Deny']),
        Action: list.default([]),
        Resource: list.default([]),
        Condition: z.record(z.string(), z.record(z.string(), list)).default({}),
      }),
    ),
  ),
})

export interface Invocation {
  readonly region: string
  readonly apiId: string
  readonly stage: string
  readonly verb: string
  readonly path: string
  readonly address: string
}

/** Reports whether the text is a policy document. */
export function isPolicy(text: string): boolean {
  try {
    return document.safeParse(JSON.parse(text)).success
  } catch {
    return false
  }
}

/**
 * Evaluates the resource policy of a deployment for a caller without credentials. Of conditions it knows those on
 * `aws:SourceIp`; a statement with another one does not apply.
 * @returns why the request is refused, if it is
 */
export function refusalOf(policy: string, invocation: Invocation): string | undefined {
  const { region, apiId, stage, verb, path } = invocation
  const suffix = `${stage}/${verb}${path}`
  const arn = `arn:aws:execute-api:${region}:${ACCOUNT_ID}:${apiId}/${suffix}`
  const applying = document
    .parse(JSON.parse(policy))
    .Statement.filter(
      (one) =>
        one.Action.some((pattern) => wildcard(pattern.toLowerCase(), 'execute-api:invoke')) &&
        one.Resource.some(
          (pattern) => wildcard(pattern, arn) || wildcard(pattern, `execute-api:/${suffix}`),
        ) &&
        Object.entries(one.Condition).every(([operator, operands]) => holds(operator, operands, invocation)),
    )
  const shown = arn.replace(ACCOUNT_ID, `********${ACCOUNT_ID.slice(-4)}`)
  const refusal = `User: anonymous is not authorized to perform: execute-api:Invoke on resource: ${shown}`
  if (applying.some(({ Effect }) => Effect === 'Deny')) return `${refusal} with an explicit deny`
  return applying.length === 0 ? refusal : undefined
}

function holds(operator: string, operands: Record<string, string[]>, { address }: Invocation): boolean {
  const [key, ranges, ...more] = Object.entries(operands).flat()
  if (key !== 'aws:SourceIp' || !Array.isArray(ranges) || more.length > 0) return false
  if (operator === 'IpAddress') return isWithin(address, ranges)
  return operator === 'NotIpAddress' && !isWithin(address, ranges)
}

function isWithin(address: string, ranges: readonly string[]): boolean {
  const blocks = new BlockList()
  for (const range of ranges) {
    const [start = '', bits] = range.split('/')
    const family = isIP(start) === 6 ? 'ipv6' : 'ipv4'
    blocks.addSubnet(start, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family)
  }
  return blocks.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}
