import ts from "typescript";

/** The names that a program declares, and the names that it uses without declaring them. */
export function freeNames(code: string): { declared: Set<string>; free: Set<string> } {
  const declared = new Set<string>();
  const used = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) (isDeclared(node) ? declared : isUse(node) ? used : new Set()).add(node.text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile("block.ts", code, ts.ScriptTarget.Latest, true));
  return { declared, free: new Set([...used].filter((name) => !declared.has(name))) };
}

function isDeclared(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isImportSpecifier(parent) || ts.isImportClause(parent) || ts.isNamespaceImport(parent)) return true;
  const isNamed =
    ts.isVariableDeclaration(parent) ||
    ts.isBindingElement(parent) ||
    ts.isParameter(parent) ||
    isNamedByParent(parent);
  return isNamed && parent.name === node;
}

const isNamedByParent = (node: ts.Node) => ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node);

function isUse(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  return !ts.isBindingElement(parent) && !ts.isMethodDeclaration(parent);
}
