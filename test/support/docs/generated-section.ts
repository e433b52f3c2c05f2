/**
 * Puts a generated section into a document, in the place of the one between its two marks.
 * @throws Error if the document has no such section
 */
export function withSection(document: string, name: string, lines: readonly string[]): string {
  const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`]
  const [from, to] = [document.indexOf(begin), document.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`the document has no section from ${begin} to ${end}`)
  return [document.slice(0, from) + begin, ...lines, document.slice(to)].join('\n')
}
