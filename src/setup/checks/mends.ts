import type { GatewayConfig } from '../../config.ts'
import { shellQuote } from '../../shell-quoting.ts'
import type { Target } from '../base-url.ts'
import type { Mend } from '../finding.ts'
import { stackOf } from '../made-by-setup.ts'

type Tags = Readonly<Record<string, string>>

/** A command of the AWS CLI, by its words after `aws apigateway`. */
export type AwsCommand = (region: string) => string

/** @param words the operation and its options; the Region is added */
export function awsCommand(...words: readonly string[]): AwsCommand {
  return (region) => ['aws apigateway', ...[...words, '--region', region].map(shellQuote)].join(' ')
}

interface MendOptions {
  /** The tags of what is changed: they say which tool owns it. */
  readonly tags: Tags
  readonly commands: readonly AwsCommand[]
  /** The lines of a template, for each kind of file. */
  readonly inTemplate: string
  readonly note?: string
}

/**
 * Mends by commands of the AWS CLI what belongs to an operator, and by a change of its template what belongs to a stack of
 * CloudFormation: a change by hand would be undone there.
 */
export function mend(
  { region }: Pick<GatewayConfig, 'region'>,
  { tags, commands, inTemplate, note }: MendOptions,
): Mend {
  const stack = stackOf(tags)
  if (stack !== undefined) {
    const advice = `it belongs to the CloudFormation stack "${stack}": change its template and deploy that. ${inTemplate}`
    return { by: 'tool', command: null, note: advice }
  }
  const command = commands.map((one) => one(region)).join('\n')
  return { by: 'aws', command, ...(note === undefined ? {} : { note }) }
}

/** The lines of a template that deploy a change to a stage. */
export const DEPLOY_IN_TEMPLATE =
  'CDK and SAM deploy with every change of the API; in CloudFormation give the AWS::ApiGateway::Deployment a new logical id.'

/** Deploys the API as it is edited now to a stage, which is created if it is not there. */
export function deploy({ api, stage }: Target): AwsCommand {
  return awsCommand('create-deployment', '--rest-api-id', api, '--stage-name', stage)
}

/** Says of an API without stages why it has none, and how it gets the one that is asked for. */
export function withoutStages(api: string, stage: string | null, region: string): string {
  const command = deploy({ api, stage: stage ?? 'prod' })(region)
  return `has no stage: it was never deployed, or its stages were deleted. To deploy it: ${command}`
}

/** One change of an update. */
export interface Patch {
  readonly op: 'add' | 'remove' | 'replace'
  readonly path: string
  readonly value?: string
}

export function replace(path: string, value: string): Patch {
  return { op: 'replace', path, value }
}

/** Returns the words of `--patch-operations`. The short form cannot have braces, which paths of resources have. */
export function patchWords(...patches: readonly Patch[]): string[] {
  const isPlain = patches.every(({ path, value = '' }) => /^[\w:/.~*-]*$/.test(path + value))
  const short = ({ op, path, value }: Patch) =>
    `op=${op},path=${path}${value === undefined ? '' : `,value=${value}`}`
  return ['--patch-operations', ...(isPlain ? patches.map(short) : [JSON.stringify(patches)])]
}

/** Adds a stage to a usage plan. */
export function addStage(usagePlanId: string, { api, stage }: Target): AwsCommand {
  return updatePlan(usagePlanId, { op: 'add', path: '/apiStages', value: `${api}:${stage}` })
}

export function updatePlan(usagePlanId: string, ...patches: readonly Patch[]): AwsCommand {
  return awsCommand('update-usage-plan', '--usage-plan-id', usagePlanId, ...patchWords(...patches))
}

export function updateApi(api: string, patch: Patch): AwsCommand {
  return awsCommand('update-rest-api', '--rest-api-id', api, ...patchWords(patch))
}

/** @param method a method as it is edited */
export function requireKey(
  api: string,
  method: { readonly resourceId: string; readonly httpMethod: string },
  required: boolean,
): AwsCommand {
  return awsCommand(
    ...['update-method', '--rest-api-id', api, '--resource-id', method.resourceId],
    ...['--http-method', method.httpMethod, ...patchWords(replace('/apiKeyRequired', String(required)))],
  )
}

/** Escapes a path as one segment of a JSON pointer (RFC 6901). */
export function escapePath(path: string): string {
  return path.replaceAll('~', '~0').replaceAll('/', '~1')
}
