import type { Operation } from './operation.ts'
import type { OperationName } from './operation-names.ts'
import { accountOperations } from './operations/account.ts'
import { apiKeyOperations } from './operations/api-keys.ts'
import { basePathMappingOperations } from './operations/base-path-mappings.ts'
import { deploymentOperations } from './operations/deployments.ts'
import { domainNameOperations } from './operations/domain-names.ts'
import { exportOperations } from './operations/exports.ts'
import { httpApiOperations } from './operations/http-apis.ts'
import { methodOperations } from './operations/methods.ts'
import { resourceOperations } from './operations/resources.ts'
import { restApiOperations } from './operations/rest-apis.ts'
import { stageOperations } from './operations/stages.ts'
import { tagOperations } from './operations/tags.ts'
import { usagePlanKeyOperations } from './operations/usage-plan-keys.ts'
import { usagePlanOperations } from './operations/usage-plans.ts'

/** The operations of the control plane. */
export const operations: Record<OperationName, Operation> = {
  ...apiKeyOperations,
  ...usagePlanOperations,
  ...usagePlanKeyOperations,
  ...restApiOperations,
  ...resourceOperations,
  ...methodOperations,
  ...deploymentOperations,
  ...stageOperations,
  ...exportOperations,
  ...domainNameOperations,
  ...basePathMappingOperations,
  ...accountOperations,
  ...tagOperations,
  ...httpApiOperations,
}
