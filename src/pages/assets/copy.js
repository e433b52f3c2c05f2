// The buttons that copy a text of the page.

const element = (id) => document.getElementById(id)

/** Lets all buttons copy their texts. @param note receives the id of the element whose whole text was copied */
export function onCopy(note = () => {}) {
  for (const button of document.querySelectorAll('[data-copy]')) {
    const { textContent: name, firstChild: label } = button
    const before = label.textContent
    button.setAttribute('aria-label', name)
    button.addEventListener('click', async () => {
      const source = element(button.dataset.copy)
      let outcome = 'Copied'
      try {
        await navigator.clipboard.writeText(source.value ?? source.textContent)
        note(source.id)
      } catch {
        // Clipboard access is denied, or the page was not loaded over HTTPS: select the text for copying by hand.
        outcome = 'Selected'
        if (source.select) source.select()
        else getSelection().selectAllChildren(source)
      }
      label.textContent = outcome
      element('copied').textContent =
        outcome === 'Copied' ? `Copied${name.slice(before.length)}.` : 'Selected. Copy it with your keyboard.'
      setTimeout(() => {
        label.textContent = before
        element('copied').textContent = ''
      }, 3_000)
    })
  }
}
