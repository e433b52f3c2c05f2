import { type Phase, phases, transitions } from '../../../src/registration/lifecycle.ts'
import { withSection } from './generated-section.ts'

/** docs/architecture.md with the life of a registration that lifecycle.ts has. */
export function withLifecycleSection(document: string): string {
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
  const table = ['| phase | fields | meaning |', '| --- | --- | --- |', ...rows]
  return withSection(document, 'lifecycle', ['```mermaid', ...diagram, '```', '', ...table])
}
