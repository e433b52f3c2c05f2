import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** Starts the Chromium of this machine. @throws Error that says how to install one, if there is none */
export async function launchChromium(): Promise<Browser> {
  const executablePath = process.env['CHROMIUM'] || findOnPath()
  if (executablePath === undefined) {
    throw new Error(
      `No browser is installed: none of ${NAMES.join(', ')} is on the PATH. Install Debian's package chromium ` +
        '(.ci/chromium does this), or set CHROMIUM to the path of a browser.',
    )
  }
  if (!isExecutable(executablePath)) throw new Error(`CHROMIUM=${executablePath} is not an executable file.`)
  // Chromium's sandbox does not work as root or in many containers. The tests open only pages of this project.
  return chromium.launch({
    executablePath,
    // A host other than localhost: without HTTPS, browsers restrict its pages.
    args: ['--no-sandbox', '--host-resolver-rules=MAP keys.test 127.0.0.1'],
  })
}

function findOnPath(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
