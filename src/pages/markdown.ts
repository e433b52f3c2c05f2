import { html } from 'ghtml'
import { Marked } from 'marked'

const withIds = new Marked({
  renderer: {
    heading({ tokens, depth, text }) {
      return `${html`<h${depth} id="${headingId(text)}">`}${this.parser.parseInline(tokens)}</h${depth}>\n`
    },
  },
})

/** Renders Markdown as HTML, with ids on the headings. The text must be the project's own: HTML in it is kept. */
export function markdown(text = ''): string {
  return withIds.parse(text, { async: false })
}

/** Renders inline Markdown as HTML, without a paragraph around it. */
export function inlineMarkdown(text: string): string {
  return withIds.parseInline(text, { async: false })
}

/** Lists the second-level headings with their ids. */
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
