import { type Phase, phases, transitions } from '../../../src/registration/lifecycle.ts'

const BEGIN = '<!-- lifecycle:begin -->'
const END = '<!-- lifecycle:end -->'

/** The section of docs/architecture.md on the life of a registration, as lifecycle.ts has it. */
export function lifecycleSection(): string {
  const names = Object.keys(phases) as Phase[]
  const idOf = (phase: Phase | null) => (phase === null ? '[*]' : phase.replaceAll(/[^a-z]+/g, '_'))
  const arrows = Map.groupBy(transitions, ({ from, to }) => `${idOf(from)} --> ${idOf(to)}`)
  const labelOf = (on: readonly string[]) => [...new Set(on)].join('<br/>or ')
  const diagram = [
    'stateDiagram-v2',
    ...names.map((phase) => `    state "${phase}" as ${idOf(phase)}`),
    ...[...arrows].map(([arrow, group]) => `    ${arrow}: ${labelOf(group.map(({ on }) => on))}`),
    '    ended --> [*]',
    '    failed --> [*]',
  ]
  const rows = names.map((phase) => `| ${phase} | ${phases[phase].fields} | ${phases[phase].meaning} |`)
  return [
    BEGIN,
    '```mermaid',
    ...diagram,
    '```',
    '',
    '| phase | fields | meaning |',
    '| --- | --- | --- |',
    ...rows,
    END,
  ].join('\n')
}

/** A document with the section in the place of the one it has. @throws Error if it has none */
export function withLifecycleSection(document: string): string {
  const [start, end] = [document.indexOf(BEGIN), document.indexOf(END)]
  if (start < 0 || end < start) throw new Error(`the document has no section from ${BEGIN} to ${END}`)
  return document.slice(0, start) + lifecycleSection() + document.slice(end + END.length)
}
