import type { RestApi } from '../../aws/rest-apis.ts'
import { didYouMean } from '../../did-you-mean.ts'
import { type Facts, showTarget } from '../facts.ts'
import { type Finding, notChecked, ok } from '../finding.ts'
import { addStage, DEPLOY_IN_TEMPLATE, deploy, mend } from './mends.ts'
import type { NamedPlan } from './plans.ts'

/** Returns the REST API; `undefined`: it is none, or could not be read. */
export function restApiOf({ api }: Pick<Facts, 'api'>): RestApi | undefined {
  return api.known && api.value !== null && api.value !== 'http-api' ? api.value : undefined
}

/** Checks that there is a REST API: no other kind has API keys. */
export function checkRestApi({ api, target, environment }: Facts): Finding {
  const check = 'rest-api'
  const where = { api: target.api }
  if (!api.known) return notChecked(check, where, `the API ${target.api}`, api)
  if (api.value === null)
    return {
      ...{ check, status: 'fault', where },
      message: `there is no REST API ${target.api} in ${environment.region}`,
      why: 'callers reach nothing, or an HTTP API, which has no API keys; ids are of one account and Region',
      mend: {
        ...{ by: 'operator', command: null },
        note: 'name an API that exists in API_BASE_URL and in the plans, or set AWS_REGION; firstkey setup --new makes one',
      },
    }
  if (api.value === 'http-api')
    return {
      ...{ check, status: 'fault', where },
      message: `${target.api} is an HTTP API`,
      why: 'HTTP APIs have no API keys and no usage plans: every caller passes, or none',
      mend: {
        ...{ by: 'operator', command: null },
        note: 'make it a REST API; firstkey setup --new makes one to begin with',
      },
    }
  return ok(check, where, `it is a REST API, ${JSON.stringify(api.value.name)}`)
}

/**
 * Checks that the stage is there and has a deployment.
 * @param plans the plans that are to cover it
 */
export function checkStage(facts: Facts, plans: readonly NamedPlan[]): Finding[] {
  const check = 'stage'
  const { target, stages, deployed, environment } = facts
  const api = restApiOf(facts)
  if (api === undefined) return []
  if (!stages.known) return [notChecked(check, { ...target }, `the stages of ${target.api}`, stages)]
  const names = (stages.value ?? []).map(({ name }) => name)
  const stage = stages.value?.find(({ name }) => name === target.stage)
  if (stage !== undefined && stage.deploymentId !== null && !(deployed.known && deployed.value === null))
    return [ok(check, { ...target }, `the stage ${target.stage} has the deployment ${stage.deploymentId}`)]
  const others =
    names.length === 0
      ? 'it was never deployed, or the stage was deleted'
      : `its stages are ${names.join(', ')}${didYouMean(target.stage, names)}`
  const lacking = plans.filter(({ plan }) => !plan.stages.includes(showTarget(target)))
  return [
    {
      ...{ check, status: 'fault', where: { ...target } },
      message:
        stage === undefined
          ? `the API ${target.api} has no stage ${target.stage}: ${others}`
          : `the stage ${target.stage} of ${target.api} has no deployment`,
      why: 'callers get 403 Forbidden, with any key and without one',
      mend: mend(environment, {
        tags: api.tags,
        commands: [deploy(target), ...lacking.map(({ plan }) => addStage(plan.usagePlanId, target))],
        inTemplate: DEPLOY_IN_TEMPLATE,
        ...(stage === undefined && names.length > 0
          ? { note: 'or name one of the other stages in API_BASE_URL and in the plans' }
          : {}),
      }),
    },
  ]
}
