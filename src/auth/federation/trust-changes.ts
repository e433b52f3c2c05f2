import { isDeepStrictEqual } from 'node:util'
import type { Trust } from './trust-file.ts'

/** The difference between two trust files, as fields of a log line. What did not change has no field. */
export interface TrustChanges {
  readonly audience?: string
  readonly issuers_added?: readonly string[]
  readonly issuers_removed?: readonly string[]
  readonly issuers_changed?: readonly string[]
  readonly rules_added?: readonly string[]
  readonly rules_removed?: readonly string[]
  readonly rules_changed?: readonly string[]
  /** The ids of all rules in their new order: the first that matches decides. Only if those that stayed changed their order. */
  readonly rules_order?: readonly string[]
}

/** Compares two trust files by the names of their issuers and the ids of their rules. */
export function trustChanges(before: Trust, after: Trust): TrustChanges {
  const rulesOf = ({ rules }: Trust) => new Map(rules.map((rule) => [rule.id, rule]))
  const [old, now] = [rulesOf(before), rulesOf(after)]
  const stayed = (these: ReadonlyMap<string, unknown>, those: ReadonlyMap<string, unknown>) =>
    [...these.keys()].filter((id) => those.has(id))
  return {
    ...(before.audience === after.audience ? {} : { audience: after.audience }),
    ...differences('issuers', before.issuers, after.issuers),
    ...differences('rules', old, now),
    ...(isDeepStrictEqual(stayed(old, now), stayed(now, old)) ? {} : { rules_order: [...now.keys()] }),
  }
}

function differences(
  kind: 'issuers' | 'rules',
  old: ReadonlyMap<string, unknown>,
  now: ReadonlyMap<string, unknown>,
) {
  const lists = {
    [`${kind}_added`]: [...now.keys()].filter((name) => !old.has(name)),
    [`${kind}_removed`]: [...old.keys()].filter((name) => !now.has(name)),
    [`${kind}_changed`]: [...now].flatMap(([name, value]) =>
      old.has(name) && !isDeepStrictEqual(old.get(name), value) ? [name] : [],
    ),
  }
  return Object.fromEntries(Object.entries(lists).filter(([, names]) => names.length > 0))
}
