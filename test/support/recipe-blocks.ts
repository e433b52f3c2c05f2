import assert from 'node:assert/strict'

/** A code block of a Markdown document, as a reader copies it. */
export interface Block {
  /** The heading above it. */
  readonly heading: string
  readonly language: string
  readonly code: string
}

/** Reads all code blocks of a Markdown document, in their order. */
export function readBlocks(markdown: string): Block[] {
  const blocks = markdown.split(/^## /m).flatMap((section) => {
    const heading = section.slice(0, section.indexOf('\n'))
    return [...section.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', code = '']) => ({
      heading,
      language,
      code,
    }))
  })
  const fences = markdown.match(/^\s*(```|~~~)/gm) ?? []
  assert.equal(fences.length, 2 * blocks.length, 'a code block has an unexpected form')
  return blocks
}
