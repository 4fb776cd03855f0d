// Print the height of the piece and its root in hexadecimal, as the WASM package gives them, of the file that is named.
import { createReadStream } from 'node:fs'
import { create } from 'fr32-sha2-256-trunc254-padded-binary-tree-multihash'

const hasher = create()
for await (const chunk of createReadStream(process.argv[2], { highWaterMark: 1 << 20 })) hasher.write(chunk)
const digest = new Uint8Array(hasher.multihashByteLength())
hasher.digestInto(digest, 0, true)
console.log(digest.at(-33), Buffer.from(digest.subarray(-32)).toString('hex'))
