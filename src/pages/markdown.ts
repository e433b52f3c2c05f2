import { html } from 'ghtml'
import { Marked } from 'marked'

const withIds = new Marked({
  renderer: {
    heading({ tokens, depth, text }) {
      return `${html`<h${depth} id="${headingId(text)}">`}${this.parser.parseInline(tokens)}</h${depth}>\n`
    },
  },
})

/** The project's own text, which nobody else writes, as HTML. Its headings have ids. */
export function markdown(text = ''): string {
  return withIds.parse(text, { async: false })
}

/** The same for a part of a line. */
export function inlineMarkdown(text: string): string {
  return withIds.parseInline(text, { async: false })
}

/** The headings of the second level, and their ids. */
export function headingsOf(text = ''): { readonly id: string; readonly text: string }[] {
  return withIds
    .lexer(text)
    .flatMap((token) =>
      token.type === 'heading' && token.depth === 2 ? [{ id: headingId(token.text), text: token.text }] : [],
    )
}

function headingId(text: string): string {
  return `about-${text.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}`
}
