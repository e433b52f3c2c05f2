import { createHash } from 'node:crypto'
import type { EditedMethod } from '../../aws/rest-apis.ts'
import type { MethodName } from '../options.ts'
import { pascalCase, uniqueNames } from './identifiers.ts'
import { inComment } from './literals.ts'
import { type ApiPatch, heading, isSetUp, type PlanPatch } from './patch.ts'
import { yamlDocument } from './yaml-document.ts'

export type Resources = Record<string, object>

/** CloudFormation looks up what such a text names, whatever is around it, and has no way to write it as it is. */
const DYNAMIC_REFERENCE = '{{resolve:'

/**
 * Returns a CloudFormation template with the usage plans, the methods, the deployment and the stage.
 * @throws Error if a text cannot be written in a template
 */
export function cloudFormationPatch(patch: ApiPatch): string {
  refuseDynamicReferences(patch)
  const { api, stage } = patch
  const named = uniqueNames()
  const methods = Object.fromEntries(
    patch.methods.map((method) => [named(`${methodName(method)}Method`), methodResource(api.id, method)]),
  )
  const isDeployed = patch.methods.length > 0 || !api.readsHeader
  // CloudFormation deploys an API only once under each name.
  const deployment = named(`Deployment${hashOf([methods, api.readsHeader])}`)
  const stageName = named(`${pascalCase(stage)}Stage`)
  const resources: Resources = {
    ...(api.readsHeader
      ? {}
      : {
          [named(api.logicalId ?? 'RestApi')]: {
            Type: 'AWS::ApiGateway::RestApi',
            Properties: { Name: api.name, ApiKeySourceType: 'HEADER' },
          },
        }),
    ...methods,
    ...(isDeployed
      ? {
          [deployment]: {
            Type: 'AWS::ApiGateway::Deployment',
            ...(patch.methods.length === 0 ? {} : { DependsOn: Object.keys(methods) }),
            Properties: { RestApiId: api.id },
          },
          [stageName]: {
            Type: 'AWS::ApiGateway::Stage',
            Properties: { RestApiId: api.id, StageName: stage, DeploymentId: { Ref: deployment } },
          },
        }
      : {}),
    ...planResources(patch, named, api.id, isDeployed ? { Ref: stageName } : stage),
  }
  const comment = [
    heading(patch),
    'Merge it into the template that owns the API:',
    ...(api.readsHeader ? [] : ['- RestApi: set its ApiKeySourceType.']),
    ...(patch.methods.length === 0
      ? []
      : ['- Methods: set ApiKeyRequired on the resource of each. It has the integration, which stays.']),
    ...(isDeployed
      ? [
          '- Deployment: CloudFormation deploys an API anew only under a new name, as it has here. Let the DeploymentId of',
          '  your stage refer to it.',
        ]
      : []),
    '- Usage plans: add them. Where the API is a resource of the template, let ApiId refer to it.',
    ...existingPlans(patch),
  ]
  return yamlDocument(comment, { AWSTemplateFormatVersion: '2010-09-09', Resources: resources })
}

/** @throws Error if a text of the patch would be replaced by CloudFormation */
export function refuseDynamicReferences({ api, stage, plans, methods }: ApiPatch): void {
  const hasOne = (text: string | null) => text?.includes(DYNAMIC_REFERENCE)
  const textsOf = (plan: PlanPatch) => [
    plan.name,
    ...Object.entries(plan.tags).flat(),
    ...plan.stages.flatMap((one) => [one.api, one.stage, ...one.methodLimits.map(({ method }) => method)]),
  ]
  const texts = [api.name, stage, ...plans.flatMap(textsOf), ...methods.map(({ path }) => path)]
  const found = texts.find(hasOne)
  if (found !== undefined)
    throw new Error(
      `CloudFormation would replace ${DYNAMIC_REFERENCE}…}} in ${JSON.stringify(found)}: change this name first`,
    )
}

/** Something that a property refers to: a text, or a reference of the tool. */
export type Reference = string | object

/** Returns the resources of the usage plans. `api` and `stage` are what their stages refer to. */
export function planResources(
  patch: ApiPatch,
  named: (wanted: string) => string,
  api: Reference,
  stage: Reference,
): Resources {
  return Object.fromEntries(
    patch.plans.map((plan) => {
      const resource = {
        Type: 'AWS::ApiGateway::UsagePlan',
        // An import wants both, and so do the keys of the plan.
        ...(plan.usagePlanId === null ? {} : { DeletionPolicy: 'Retain', UpdateReplacePolicy: 'Retain' }),
        Properties: planProperties(patch, plan, api, stage),
      }
      return [named(planName(plan)), resource]
    }),
  )
}

/** Returns the name of a plan in a template. */
export function planName({ logicalId, name }: PlanPatch): string {
  return logicalId ?? `${pascalCase(name)}Plan`
}

/** Returns the properties of a usage plan. `api` and `stage` are what its stages refer to. */
export function planProperties(patch: ApiPatch, plan: PlanPatch, api: Reference, stage: Reference): object {
  const { ratePerSecond, burst, quota } = plan.limits
  const stages = plan.stages.map((one) => ({
    ApiId: isSetUp(patch, one) ? api : one.api,
    Stage: isSetUp(patch, one) ? stage : one.stage,
    ...unlessEmpty(
      'Throttle',
      Object.fromEntries(one.methodLimits.map((limit) => [limit.method, throttle(limit)])),
    ),
  }))
  return {
    UsagePlanName: plan.name,
    ApiStages: stages,
    ...(ratePerSecond === null && burst === null ? {} : { Throttle: throttle(plan.limits) }),
    ...(quota === null ? {} : { Quota: { Limit: quota.limit, Period: quota.period } }),
    ...unlessEmpty(
      'Tags',
      Object.entries(plan.tags).map(([Key, Value]) => ({ Key, Value })),
    ),
  }
}

function unlessEmpty(name: string, value: object): object {
  return Object.keys(value).length === 0 ? {} : { [name]: value }
}

/** Returns the lines that say what to do about usage plans that no stack owns. */
export function existingPlans({ plans }: ApiPatch): string[] {
  const existing = plans.filter(({ usagePlanId, logicalId }) => usagePlanId !== null && logicalId === null)
  if (existing.length === 0) return []
  return [
    '- These plans exist. If no stack owns them, import them first (create-change-set --change-set-type IMPORT): otherwise',
    `  there are two of each. ${existing.map(({ name, usagePlanId }) => `${inComment(name)} is ${usagePlanId}`).join(', ')}.`,
  ]
}

/** Returns a name for a method, such as `GetHello`. */
export function methodName({ httpMethod, path }: MethodName): string {
  return pascalCase(`${httpMethod} ${path === '/' ? 'root' : path}`)
}

function methodResource(api: string, { resourceId, httpMethod, authorizationType }: EditedMethod): object {
  // Other types refer to an authorizer, which the resource in the owner's template names.
  const isComplete = authorizationType === 'NONE' || authorizationType === 'AWS_IAM'
  return {
    Type: 'AWS::ApiGateway::Method',
    Properties: {
      RestApiId: api,
      ResourceId: resourceId,
      HttpMethod: httpMethod,
      ...(isComplete ? { AuthorizationType: authorizationType } : {}),
      ApiKeyRequired: true,
    },
  }
}

function throttle({ ratePerSecond, burst }: { ratePerSecond: number | null; burst: number | null }): object {
  return {
    ...(ratePerSecond === null ? {} : { RateLimit: ratePerSecond }),
    ...(burst === null ? {} : { BurstLimit: burst }),
  }
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 8)
}
