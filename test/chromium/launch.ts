import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** Starts the Chromium of this machine. @throws Error that says how to get one */
export async function launchChromium(): Promise<Browser> {
  const executablePath = process.env['CHROMIUM'] || findOnPath()
  if (executablePath === undefined) {
    throw new Error(
      `No browser is installed: none of ${NAMES.join(', ')} is on the PATH. Install Debian's package chromium ` +
        '(.ci/chromium does), or set CHROMIUM to the path of one.',
    )
  }
  if (!isExecutable(executablePath))
    throw new Error(`CHROMIUM=${executablePath} is no program that can be run.`)
  // Its sandbox cannot be had as root, nor in many containers; what it opens is this project alone.
  return chromium.launch({
    executablePath,
    // A name that is not localhost: without HTTPS a page there may do less.
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
