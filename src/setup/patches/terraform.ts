import type { PlanLimits } from '../../aws/usage-plans.ts'
import { type Block, type Expression, formatHcl, hclMap } from './hcl.ts'
import { snakeCase, uniqueNames } from './identifiers.ts'
import { commentLines } from './literals.ts'
import { type ApiPatch, heading, isSetUp } from './patch.ts'

/** Returns a Terraform configuration with the methods, the deployment, the stage and the usage plans. */
export function terraformPatch(patch: ApiPatch): string {
  const { api, stage } = patch
  const isDeployed = patch.methods.length > 0 || !api.readsHeader
  const methodNamed = uniqueNames()
  const methods = patch.methods.map((method) => ({
    ...method,
    name: methodNamed(snakeCase(`${method.httpMethod} ${method.path === '/' ? 'root' : method.path}`)),
  }))
  const stageName = identifier(stage, 'stage')
  const restApi = 'aws_api_gateway_rest_api.api'
  const apiId = api.readsHeader ? api.id : { expression: `${restApi}.id` }
  const triggers = [
    ...(api.readsHeader ? [] : [`${restApi}.api_key_source`]),
    ...methods.map(({ name }) => `aws_api_gateway_method.${name}.api_key_required`),
  ]
  const blocks: Block[] = [
    ...(api.readsHeader ? [] : [resource('rest_api', 'api', { name: api.name, api_key_source: 'HEADER' })]),
    ...methods.map(({ name, resourceId, httpMethod, authorizationType }) =>
      resource('method', name, {
        rest_api_id: apiId,
        resource_id: resourceId,
        http_method: httpMethod,
        authorization: authorizationType,
        api_key_required: true,
      }),
    ),
    ...(isDeployed
      ? [
          resource('deployment', 'api', { rest_api_id: apiId, triggers: redeploymentOn(triggers) }, [
            { type: 'lifecycle', attributes: { create_before_destroy: true } },
          ]),
          resource('stage', stageName, {
            rest_api_id: apiId,
            stage_name: stage,
            deployment_id: { expression: 'aws_api_gateway_deployment.api.id' },
          }),
        ]
      : []),
    ...planBlocks(
      patch,
      apiId,
      isDeployed ? { expression: `aws_api_gateway_stage.${stageName}.stage_name` } : stage,
    ),
  ]
  const comment = [
    heading(patch),
    'Merge it into the configuration that owns the API:',
    ...(api.readsHeader ? [] : ['- aws_api_gateway_rest_api: set api_key_source in your resource.']),
    ...(methods.length === 0
      ? []
      : [
          '- aws_api_gateway_method: set api_key_required in your resource of each method, which keeps its integration.',
        ]),
    ...(isDeployed
      ? [
          '- aws_api_gateway_deployment: without these triggers Terraform does not deploy the change. Add them to yours, and let',
          '  the deployment_id of your stage refer to it.',
        ]
      : []),
    '- aws_api_gateway_usage_plan: add them. A stage that is replaced is taken off its plans: let api_stages refer to the',
    '  resource of the stage, as here, and after a replacement apply twice.',
  ]
  return `${commentLines('#', comment)}\n${formatHcl(blocks)}`
}

function planBlocks(patch: ApiPatch, apiId: string | Expression, stage: string | Expression): Block[] {
  const named = uniqueNames()
  return patch.plans.flatMap((plan) => {
    const name = named(identifier(plan.name, 'plan'))
    const { usagePlanId, limits } = plan
    const adopted: Block = {
      type: 'import',
      attributes: { to: { expression: `aws_api_gateway_usage_plan.${name}` }, id: usagePlanId },
    }
    const block = resource(
      'usage_plan',
      name,
      {
        name: plan.name,
        product_code: plan.productCode,
        tags: hclMap(plan.tags),
      },
      [
        ...plan.stages.map((one) => ({
          type: 'api_stages',
          attributes: {
            api_id: isSetUp(patch, one) ? apiId : one.api,
            stage: isSetUp(patch, one) ? stage : one.stage,
          },
          blocks: one.methodLimits.map((limit) => ({
            type: 'throttle',
            attributes: { path: limit.method, ...throttle(limit) },
          })),
        })),
        limits.ratePerSecond === null && limits.burst === null
          ? null
          : { type: 'throttle_settings', attributes: throttle(limits) },
        limits.quota === null ? null : { type: 'quota_settings', attributes: { ...limits.quota } },
        // An import would clear what is not here.
        usagePlanId === null
          ? null
          : { type: 'lifecycle', attributes: { ignore_changes: { expression: '[description]' } } },
      ],
    )
    return usagePlanId === null ? [block] : [adopted, block]
  })
}

function throttle({ ratePerSecond, burst }: Omit<PlanLimits, 'quota'>) {
  return { rate_limit: ratePerSecond, burst_limit: burst }
}

function resource(
  type: string,
  name: string,
  attributes: NonNullable<Block['attributes']>,
  blocks: Block['blocks'] = [],
): Block {
  return { type: 'resource', labels: [`aws_api_gateway_${type}`, name], attributes, blocks }
}

function redeploymentOn(triggers: readonly string[]): Expression {
  const lines = triggers.map((trigger) => `    ${trigger},`)
  return { expression: ['{', '  redeployment = sha1(jsonencode([', ...lines, '  ]))', '}'].join('\n') }
}

/** A name of Terraform begins with a letter. */
function identifier(text: string, otherwise: string): string {
  const name = snakeCase(text)
  if (name === '') return otherwise
  return /^\d/.test(name) ? `${otherwise}_${name}` : name
}
