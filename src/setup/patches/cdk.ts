import { existingPlans, planName, planProperties, refuseDynamicReferences } from './cloudformation.ts'
import { uniqueNames } from './identifiers.ts'
import { commentLines, decimal, typeScriptString } from './literals.ts'
import { type ApiPatch, heading } from './patch.ts'

/** The names that the function of the module has for its API and its stage. */
const API = { expression: 'api.restApiId' }
const STAGE = { expression: 'stage.stageName' }

/**
 * Returns a module of TypeScript for CDK, whose function changes an API of `aws-cdk-lib`.
 * @throws Error if a text cannot be written in a template
 */
export function cdkPatch(patch: ApiPatch): string {
  refuseDynamicReferences(patch)
  const named = uniqueNames()
  const methods = patch.methods.map(({ httpMethod, path }) => `${httpMethod} ${path}`)
  const plans = patch.plans.flatMap((plan) => {
    const properties = planProperties(patch, plan, API, STAGE)
    const created = `new apigateway.CfnUsagePlan(api, ${typeScriptString(named(planName(plan)))}, ${format(properties, 1)})`
    // The keys of a plan that exists must not end with the stack.
    return plan.usagePlanId === null ? [created] : [`${created}.applyRemovalPolicy(RemovalPolicy.RETAIN)`]
  })
  const retains = patch.plans.some(({ usagePlanId }) => usagePlanId !== null)
  const lines = [
    `import { ${retains ? 'RemovalPolicy, ' : ''}aws_apigateway as apigateway } from "aws-cdk-lib"`,
    '',
    'export function requireKeys(api: apigateway.RestApi, stage = api.deploymentStage): void {',
    '  const definition = api.node.defaultChild as apigateway.CfnRestApi',
    '  definition.apiKeySourceType = apigateway.ApiKeySourceType.HEADER',
    ...(methods.length === 0
      ? []
      : [
          `  const keyed = ${format(methods, 1)}`,
          '  for (const name of keyed) {',
          "    const found = api.methods.find((method) => name === [method.httpMethod, method.resource.path].join(' '))",
          "    if (found === undefined) throw new Error('the API has no method ' + name)",
          '    const method = found.node.defaultChild as apigateway.CfnMethod',
          '    method.apiKeyRequired = true',
          '  }',
          '  // CDK knows the methods as they were added: without this it does not deploy the change.',
          '  api.latestDeployment?.addToLogicalId({ apiKeyRequired: keyed })',
        ]),
    ...plans.map((plan) => `  ${plan}`),
    '}',
  ]
  const comment = [
    heading(patch),
    'Call it in the stack that owns the API, after its last method was added: requireKeys(api).',
    'The preflight of CORS stays open: OPTIONS is changed only if it is in the list.',
    ...existingPlans(patch),
  ]
  return `${commentLines('//', comment)}\n${lines.join('\n')}\n`
}

/** Writes a value as TypeScript. Keys become the names that CDK's classes have for the properties of CloudFormation. */
function format(value: unknown, depth: number): string {
  if (typeof value === 'string') return typeScriptString(value)
  if (typeof value === 'number') return decimal(value)
  const indent = '  '.repeat(depth)
  const inBrackets = ([open, close]: string, parts: readonly string[]) =>
    parts.length === 0
      ? `${open}${close}`
      : `${open}\n${parts.map((part) => `${indent}  ${part},\n`).join('')}${indent}${close}`
  if (Array.isArray(value))
    return inBrackets(
      '[]',
      value.map((one) => format(one, depth + 1)),
    )
  const entries = Object.entries(value as object)
  if (typeof value === 'object' && value !== null && 'expression' in value) return String(value.expression)
  return inBrackets(
    '{}',
    entries.map(([key, one]) => `${keyOf(key)}: ${format(one, depth + 1)}`),
  )
}

function keyOf(key: string): string {
  return /^[A-Z]\w*$/.test(key) ? key.charAt(0).toLowerCase() + key.slice(1) : typeScriptString(key)
}
