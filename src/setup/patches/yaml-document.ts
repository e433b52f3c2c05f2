import { Document, type ScalarTag } from 'yaml'
import { commentLines, decimal, yamlString } from './literals.ts'

/** A text that no reader takes for another type. CloudFormation and SAM read YAML 1.1, in which `no` is a boolean. */
const PLAIN = /^(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z/](?:[\w./-]|::)*$/i

/** The scalars of the documents. Nothing is parsed with these tags. */
const scalars: readonly ScalarTag[] = [
  scalar('str', 'string', (value) => {
    const text = String(value)
    return PLAIN.test(text) ? text : yamlString(text)
  }),
  scalar('float', 'number', (value) => decimal(Number(value))),
  scalar('bool', 'boolean', String),
]

function scalar(name: string, type: string, write: (value: unknown) => string): ScalarTag {
  return {
    tag: `tag:yaml.org,2002:${name}`,
    default: true,
    identify: (value) => typeof value === type,
    resolve: (text) => text,
    stringify: ({ value }) => write(value),
  }
}

/**
 * Writes a YAML document that readers of YAML 1.1 and 1.2 understand alike, whatever texts are in it.
 * @param comment the lines above it
 */
export function yamlDocument(comment: readonly string[], value: object): string {
  const document = new Document(value, {
    schema: 'failsafe',
    customTags: (collections) => [...scalars, ...collections],
    aliasDuplicateObjects: false,
  })
  return commentLines('#', comment) + document.toString({ lineWidth: 0 })
}
