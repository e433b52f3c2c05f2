import { cdkPatch } from './cdk.ts'
import { cloudFormationPatch } from './cloudformation.ts'
import { openApiPatch } from './openapi.ts'
import type { ApiPatch } from './patch.ts'
import { samPatch } from './sam.ts'
import { terraformPatch } from './terraform.ts'

/** The tools, with the document that each reads. */
const printers = {
  cloudformation: cloudFormationPatch,
  terraform: terraformPatch,
  cdk: cdkPatch,
  sam: samPatch,
  openapi: openApiPatch,
} as const satisfies Record<string, (patch: ApiPatch) => string>

export type PatchTool = keyof typeof printers

export const patchTools = Object.keys(printers) as readonly PatchTool[]

/**
 * Returns the document of a tool.
 * @throws Error if a text of the patch cannot be written in it, or there is nothing to write
 */
export function printPatch(tool: PatchTool, patch: ApiPatch): string {
  const { plans, methods, api } = patch
  if (plans.length === 0 && methods.length === 0 && api.readsHeader)
    throw new Error('there is nothing to print: name a plan (--plan) or methods (--methods)')
  return printers[tool](patch)
}
