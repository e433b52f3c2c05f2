import assert from 'node:assert/strict'

/** A block of code of a Markdown document, as a reader copies it. */
export interface Block {
  /** The heading that it stands under. */
  readonly heading: string
  readonly language: string
  readonly code: string
}

/** All blocks of code of a Markdown document, in their order. */
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
  assert.equal(fences.length, 2 * blocks.length, 'a block of code that is not written as the others')
  return blocks
}
