/** The tag of the APIs and usage plans that `firstkey setup` makes. */
export const TAG = 'firstkey:setup'
/** The tag of CloudFormation, and so of CDK and SAM. */
const STACK_TAG = 'aws:cloudformation:stack-name'

type Tags = Readonly<Record<string, string>>

/** Returns the tags of what a run makes. @param mark the name of a new API, or `apiId:stage` of an existing one */
export function tagsOf(mark: string): Record<string, string> {
  return { [TAG]: mark }
}

export function isMadeBy(tags: Tags, mark: string): boolean {
  return tags[TAG] === mark
}

/** Returns the name of the CloudFormation stack that something belongs to. */
export function stackOf(tags: Tags): string | undefined {
  return tags[STACK_TAG]
}
