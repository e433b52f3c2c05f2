// The page with the code of a login.
import { onCopy } from './copy.js'

onCopy()
