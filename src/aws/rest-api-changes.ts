import {
  type APIGatewayClient,
  CreateDeploymentCommand,
  type CreateDeploymentCommandInput,
  CreateResourceCommand,
  type CreateResourceCommandInput,
  CreateRestApiCommand,
  type CreateRestApiCommandInput,
  CreateUsagePlanCommand,
  type CreateUsagePlanCommandInput,
  DeleteRestApiCommand,
  type DeleteRestApiCommandInput,
  DeleteUsagePlanCommand,
  type DeleteUsagePlanCommandInput,
  PutIntegrationCommand,
  type PutIntegrationCommandInput,
  PutIntegrationResponseCommand,
  type PutIntegrationResponseCommandInput,
  PutMethodCommand,
  type PutMethodCommandInput,
  PutMethodResponseCommand,
  type PutMethodResponseCommandInput,
  UpdateAccountCommand,
  type UpdateAccountCommandInput,
  UpdateMethodCommand,
  type UpdateMethodCommandInput,
  UpdateRestApiCommand,
  type UpdateRestApiCommandInput,
  UpdateUsagePlanCommand,
  type UpdateUsagePlanCommandInput,
} from '@aws-sdk/client-api-gateway'
import { deniedPermission, permissionOf } from './calls.ts'
import { type ClientOptions, createClient } from './client.ts'
import { answeredError, type FaultKind, kindOf, toServiceError } from './errors.ts'
import type { Pace } from './pace.ts'

/** The calls that change an API, its stages and its usage plans, by their operations: the inputs have API Gateway's names. */
interface Inputs {
  CreateDeployment: CreateDeploymentCommandInput
  CreateResource: CreateResourceCommandInput
  CreateRestApi: CreateRestApiCommandInput
  CreateUsagePlan: CreateUsagePlanCommandInput
  DeleteRestApi: DeleteRestApiCommandInput
  DeleteUsagePlan: DeleteUsagePlanCommandInput
  PutIntegration: PutIntegrationCommandInput
  PutIntegrationResponse: PutIntegrationResponseCommandInput
  PutMethod: PutMethodCommandInput
  PutMethodResponse: PutMethodResponseCommandInput
  UpdateAccount: UpdateAccountCommandInput
  UpdateMethod: UpdateMethodCommandInput
  UpdateRestApi: UpdateRestApiCommandInput
  UpdateUsagePlan: UpdateUsagePlanCommandInput
}

export type WriteOperation = keyof Inputs
/** One call that changes something, as a plain value. */
export type Write = {
  [Operation in WriteOperation]: { readonly operation: Operation; readonly input: Inputs[Operation] }
}[WriteOperation]

/** A change of one value, JSON Patch as API Gateway has it. */
export interface Patch {
  readonly op: 'add' | 'remove' | 'replace'
  readonly path: string
  readonly value?: string
}

/** Reports a call that changed nothing, or may have if its kind is `unclear`. */
export class WriteError extends Error {
  override readonly name = 'WriteError'
  readonly kind: FaultKind
  /** Seconds after which API Gateway takes the call, if it is throttling. */
  readonly retryAfter: number | undefined

  constructor(message: string, kind: FaultKind, retryAfter: number | undefined, cause: unknown) {
    super(message, { cause })
    this.kind = kind
    this.retryAfter = retryAfter
  }
}

/** The calls that change an API. */
export interface RestApiChanges {
  /** Makes a change. @returns the id of what it created; `null`: it created nothing that has one @throws WriteError */
  make(write: Write, signal: AbortSignal): Promise<string | null>
  /** Returns the milliseconds for which this call would wait for its turn. */
  waitFor(operation: WriteOperation): number
  close(): void
}

/** @param pace the pace of all calls of this process */
export function createRestApiChanges(options: ClientOptions, pace: Pace): RestApiChanges {
  const client = createClient(options, pace, 'high')
  return {
    async make(write, signal) {
      try {
        const answer = await send(client, write, signal)
        return 'id' in answer && typeof answer.id === 'string' ? answer.id : null
      } catch (error) {
        throw toWriteError(error, write, options.region)
      }
    },
    waitFor: (operation) => pace.waitFor(operation, 'high'),
    close: () => client.destroy(),
  }
}

function send(client: APIGatewayClient, write: Write, signal: AbortSignal): Promise<object> {
  const options = { abortSignal: signal }
  switch (write.operation) {
    case 'CreateDeployment':
      return client.send(new CreateDeploymentCommand(write.input), options)
    case 'CreateResource':
      return client.send(new CreateResourceCommand(write.input), options)
    case 'CreateRestApi':
      return client.send(new CreateRestApiCommand(write.input), options)
    case 'CreateUsagePlan':
      return client.send(new CreateUsagePlanCommand(write.input), options)
    case 'DeleteRestApi':
      return client.send(new DeleteRestApiCommand(write.input), options)
    case 'DeleteUsagePlan':
      return client.send(new DeleteUsagePlanCommand(write.input), options)
    case 'PutIntegration':
      return client.send(new PutIntegrationCommand(write.input), options)
    case 'PutIntegrationResponse':
      return client.send(new PutIntegrationResponseCommand(write.input), options)
    case 'PutMethod':
      return client.send(new PutMethodCommand(write.input), options)
    case 'PutMethodResponse':
      return client.send(new PutMethodResponseCommand(write.input), options)
    case 'UpdateAccount':
      return client.send(new UpdateAccountCommand(write.input), options)
    case 'UpdateMethod':
      return client.send(new UpdateMethodCommand(write.input), options)
    case 'UpdateRestApi':
      return client.send(new UpdateRestApiCommand(write.input), options)
    case 'UpdateUsagePlan':
      return client.send(new UpdateUsagePlanCommand(write.input), options)
  }
}

function toWriteError(error: unknown, { operation, input }: Write, region: string): WriteError {
  const kind = kindOf(error)
  const { retryAfter } = toServiceError(error, operation)
  const said = error instanceof Error ? error.message : String(error)
  const message =
    kind === 'denied' && answeredError(error) !== undefined
      ? `AWS does not allow it: the role lacks ${deniedPermission(said) ?? permissionOf(operation, region, input)}`
      : `${operation} failed: ${said}`
  return new WriteError(message, kind, retryAfter, error)
}
