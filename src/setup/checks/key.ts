import type { Key } from '../../aws/rest-apis.ts'
import type { UsagePlan } from '../../aws/usage-plans.ts'
import type { Target } from '../base-url.ts'
import { type AccountFacts, type KeyFacts, showTarget } from '../facts.ts'
import { type Finding, notChecked, ok } from '../finding.ts'
import { awsCommand, mend, patchWords, replace } from './mends.ts'
import { type NamedPlan, plansInUse } from './plans.ts'

/** Says why one key is refused, as far as the control plane shows it. @param targets the stages that it should open */
export function checkKey(account: AccountFacts, facts: KeyFacts, targets: readonly Target[]): Finding[] {
  const { key, plans } = facts
  if (!key.known) return [notChecked('key', {}, 'the keys of the account', key)]
  if (key.value === null) return [unknownKey(account)]
  const { id, name, tags, enabled } = key.value
  const where = { keyId: id }
  const state: Finding = enabled
    ? ok('key', where, `the key is ${id}, ${JSON.stringify(name)}, and it is enabled`)
    : {
        ...{ check: 'key', status: 'fault', where },
        message: `the key ${id}, ${JSON.stringify(name)}, is disabled`,
        why: 'callers get 403 Forbidden with it',
        mend: mend(account.environment, {
          tags,
          commands: [
            awsCommand(...['update-api-key', '--api-key', id], ...patchWords(replace('/enabled', 'true'))),
          ],
          inTemplate: 'CloudFormation: Enabled of the AWS::ApiGateway::ApiKey.',
          note: 'if firstkey suspended it, run firstkey registrations resume instead',
        }),
      }
  if (!plans.known) return [state, notChecked('key-plan', where, `the plans of the key ${id}`, plans)]
  return [
    state,
    ...checkItsPlans(account, key.value, plans.value, targets),
    ...checkQuota(account, key.value, facts),
  ]
}

function unknownKey({ environment }: AccountFacts): Finding {
  return {
    ...{ check: 'key', status: 'fault', where: {} },
    message: `no key of the account has this value in ${environment.region}`,
    why: 'callers get 403 Forbidden with it',
    mend: {
      ...{ by: 'operator', command: null },
      note: 'it was mistyped, deleted or replaced, or it is of another account or Region; a new registration makes a new key',
    },
  }
}

/** Checks that the key is on a plan that covers each stage. A plan that lacks the stage is another check's. */
function checkItsPlans(
  account: AccountFacts,
  { id, tags }: Key,
  plans: readonly UsagePlan[],
  targets: readonly Target[],
): Finding[] {
  const check = 'key-plan'
  const where = { keyId: id }
  const inUse = plansInUse(account, targets)
  const isOn = (plan: UsagePlan) => plans.some(({ usagePlanId }) => usagePlanId === plan.usagePlanId)
  const missed = targets.filter((target) => !plans.some(({ stages }) => stages.includes(showTarget(target))))
  const shown = plans.map(({ usagePlanId, name }) => `${name} (${usagePlanId})`).join(', ')
  // Its plan is one of those that are checked: whatever that lacks is named there.
  if (missed.length === 0 || inUse.some(({ plan }) => isOn(plan)))
    return plans.length === 0
      ? []
      : [ok(check, { ...where, plan: plans.map(({ name }) => name).join(', ') }, `the key is on ${shown}`)]
  const [target] = missed
  const better = betterPlan(inUse, missed)
  // Without any plan there is a fault of the plans, which is named there.
  if (better === undefined) return []
  const wanted = missed.map(showTarget).join(', ')
  return [
    {
      ...{ check, status: 'fault' },
      where: { ...where, ...target, plan: better.name, usagePlanId: better.plan.usagePlanId },
      message:
        plans.length === 0
          ? `the key ${id} is on no usage plan`
          : `the key ${id} is on ${shown}, which ${plans.length === 1 ? 'does' : 'do'} not cover ${wanted}`,
      why: 'callers get 403 Forbidden with it',
      mend: mend(account.environment, {
        tags,
        commands: attach(id, better.plan, plans),
        inTemplate: 'CloudFormation: an AWS::ApiGateway::UsagePlanKey for the key.',
        note: `this puts it on the plan "${better.name}"`,
      }),
    },
  ]
}

/** The first plan that covers what the key misses. */
function betterPlan(inUse: readonly NamedPlan[], missed: readonly Target[]): NamedPlan | undefined {
  return (
    inUse.find(({ plan }) => missed.every((target) => plan.stages.includes(showTarget(target)))) ?? inUse[0]
  )
}

/** Puts a key on a plan, and takes it off those that cover one of the same stages: API Gateway refuses both together. */
function attach(keyId: string, plan: UsagePlan, present: readonly UsagePlan[]) {
  const overlapping = present.filter(({ stages }) => stages.some((stage) => plan.stages.includes(stage)))
  return [
    ...overlapping.map(({ usagePlanId }) =>
      awsCommand('delete-usage-plan-key', '--usage-plan-id', usagePlanId, '--key-id', keyId),
    ),
    awsCommand(
      ...['create-usage-plan-key', '--usage-plan-id', plan.usagePlanId],
      ...['--key-id', keyId, '--key-type', 'API_KEY'],
    ),
  ]
}

function checkQuota(account: AccountFacts, { id }: Key, { plans, remaining }: KeyFacts): Finding[] {
  const check = 'key-quota'
  return (plans.known ? plans.value : []).flatMap(({ usagePlanId, name, limits }): Finding[] => {
    const { quota } = limits
    const left = remaining.get(usagePlanId)
    // A quota of 0 is the plan's own fault.
    if (quota === null || quota.limit === 0 || left === undefined) return []
    const where = { keyId: id, plan: name, usagePlanId }
    if (!left.known) return [notChecked(check, where, `the usage of the key ${id}`, left)]
    if (left.value > 0) return [ok(check, where, `${left.value} requests of its quota on ${name} are left`)]
    return [
      {
        ...{ check, status: 'fault', where },
        message: `the key ${id} has used up its quota of ${quota.limit} requests a ${quota.period.toLowerCase()} on ${name} (${usagePlanId})`,
        why: 'callers get 429 Limit Exceeded with it until the next period begins',
        mend: mend(account.environment, {
          tags: {},
          commands: [
            awsCommand(
              ...['update-usage', '--usage-plan-id', usagePlanId, '--key-id', id],
              ...patchWords(replace('/remaining', String(quota.limit))),
            ),
          ],
          inTemplate: '',
          note: 'this gives it the whole quota again for the present period',
        }),
      },
    ]
  })
}
