import { type Caller, callsOf, resourceArn } from '../aws/calls.ts'

export interface PolicyStatement {
  readonly Effect: 'Allow'
  readonly Action: readonly string[]
  readonly Resource: readonly string[]
}

/** An IAM policy document. */
export interface PolicyDocument {
  readonly Version: '2012-10-17'
  readonly Statement: readonly PolicyStatement[]
}

/** The values to which a policy is restricted, by the names that {@link calls} has in braces. Anything is allowed for one that is left out. */
export type PolicyScope = Readonly<
  Partial<Record<'restApiId' | 'stageName' | 'usagePlanId' | 'domainName', readonly string[]>>
>

/**
 * Returns the policy that allows the calls of `caller` and no others.
 * @param region the Region, or a placeholder for it
 */
export function iamPolicy(caller: Caller, region: string, scope: PolicyScope): PolicyDocument {
  const granted = callsOf(caller).flatMap(({ verb, path, setsTags }) => [
    ...resourcesOf(path, scope).map((resource) => ({ verb, resource })),
    ...(setsTags ? [{ verb: 'PUT', resource: '/tags/*' }] : []),
  ])
  const needed = granted.filter(
    ({ verb, resource }) =>
      !granted.some((other) => other.verb === verb && isWider(other.resource, resource)),
  )
  // Resources with the same actions share a statement.
  const verbsOf = Map.groupBy(needed, ({ resource }) => resource)
  const byActions = Map.groupBy(verbsOf.keys(), (resource) => {
    const verbs = new Set(verbsOf.get(resource)?.map(({ verb }) => `apigateway:${verb}`))
    return [...verbs].sort().join(' ')
  })
  const statements = [...byActions].map(([actions, resources]) => ({
    Effect: 'Allow' as const,
    Action: actions.split(' '),
    Resource: resources.sort().map((path) => resourceArn(region, path)),
  }))
  return { Version: '2012-10-17', Statement: statements }
}

/** Returns the paths that a call is allowed on: one for each combination of the values in the scope, `*` elsewhere. */
function resourcesOf(path: string, scope: PolicyScope): string[] {
  const valuesOf = new Map<string, readonly string[]>(Object.entries(scope))
  return path
    .split(/\{(\w+)\}/)
    .reduce<string[]>(
      (begun, part, index) =>
        (index % 2 === 0 ? [part] : (valuesOf.get(part) ?? ['*'])).flatMap((value) =>
          begun.map((start) => start + value),
        ),
      [''],
    )
}

/** Returns `true` if `wider`, in which `*` stands for any characters, slashes too, allows what `path` does and more. */
function isWider(wider: string, path: string): boolean {
  const parts = wider.split('*').map((part) => RegExp.escape(part))
  return wider !== path && RegExp(`^${parts.join('.*')}$`).test(path)
}
