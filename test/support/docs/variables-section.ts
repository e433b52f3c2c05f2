import { variableTexts } from '../../../src/variables.ts'
import { withSection } from './generated-section.ts'

/** docs/for-operators.md with the table of variables that variables.ts has. */
export function withVariablesSection(document: string): string {
  const rows = Object.entries(variableTexts).map(
    ([name, { byDefault, meaning }]) =>
      `| \`${name}\` | ${byDefault === '' ? '' : `${byDefault} `}| ${meaning} |`,
  )
  const table = ['| variable | default | meaning |', '| --- | --- | --- |', ...rows].join('\n')
  return withSection(document, 'variables', [table.replaceAll('(for-operators.md#', '(#')])
}
