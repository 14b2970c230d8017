/** A Lark grammar of patches, with all that the grammars of coding agents use. */
export const patchGrammar = `start: head file+ tail
head: "*** Begin Patch" LF
tail: "*** End Patch" LF?

file: added | removed | changed
added: "*** Add File: " path LF added_line+
removed: "*** Delete File: " path LF
changed: "*** Update File: " path LF moved? hunks?

path: /(.+)/
added_line: "+" /(.*)/ LF -> line

moved: "*** Move to: " path LF
hunks: (place | line)+ last?
place: ("@@" | "@@ " /(.+)/) LF
line: ("+" | "-" | " ") /(.*)/ LF
last: "*** End of File" LF

%import common.LF
`;
