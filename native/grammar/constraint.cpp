#include "native/grammar/constraint.h"

#include <algorithm>
#include <list>
#include <mutex>
#include <unordered_map>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/grammar/regex.h"
#include "native/grammar/schema.h"
#include "native/tokenizer/special_tokens.h"
#include "native/tokenizer/vocabulary.h"

namespace oss::grammar {
namespace {

enum class Expected { kValue, kObject };  // of a schema

NodeId root_of(Graph& graph, JsonText& json, const Json& format, Expected expected) {
  const std::string& type = *format.find("type")->string();
  constexpr NodeId kEnd = Graph::kEndNode;
  if (type == "json_object") return json.any_object(kEnd);
  if (type == "regex") {
    Regular regular(graph);
    return regex(graph, regular, *format.find("pattern")->string(), Anchoring::kWhole, Spelling::kPlain, "pattern", kEnd);
  }
  if (type == "choice") {
    std::vector<std::string> texts;
    for (const Json& text : *format.find("choices")->array()) texts.push_back(*text.string());
    return graph.choice(std::move(texts), kEnd);
  }
  SchemaCompiler schema(graph, json, *format.find("schema"));
  return expected == Expected::kObject ? schema.compile_object(kEnd) : schema.compile(kEnd);
}

std::shared_ptr<Grammar> compile(const Json& format, Expected expected, const SharedTrie& trie) {
  Graph graph;
  JsonText json(graph);
  const RuleId root = graph.add_rule(root_of(graph, json, format, expected));
  graph.finish(root, trie.vocab() >= int(tokenizer::kFirstSpecial));
  const NodeId plain_node = json.plain_node();
  const RuleId plain_rule = json.plain_rule();
  return std::make_shared<Grammar>(std::make_unique<Machine>(std::move(graph), plain_node, plain_rule), trie);
}

// The most recently used first.
class Cache {
 public:
  std::shared_ptr<Grammar> find(const std::string& key) {
    std::lock_guard lock(mutex_);
    const auto at = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.key == key; });
    if (at == entries_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, at);
    return at->grammar;
  }
  void add(std::string key, std::shared_ptr<Grammar> grammar) {
    std::lock_guard lock(mutex_);
    entries_.push_front({std::move(key), std::move(grammar)});
    if (entries_.size() > kMaxGrammars) entries_.pop_back();
  }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<Grammar> grammar;
  };
  std::mutex mutex_;
  std::list<Entry> entries_;
};

std::shared_ptr<Grammar> grammar_of(const Json& format, Expected expected, const SharedTrie& trie) {
  static Cache& cache = *new Cache;  // never destroyed: engine threads may outlive the exit of main()
  std::string key = str(trie.vocab(), expected == Expected::kObject ? "object" : "value", compact(format));
  if (std::shared_ptr<Grammar> known = cache.find(key)) return known;
  std::shared_ptr<Grammar> made = compile(format, expected, trie);
  cache.add(std::move(key), made);
  return made;
}

// Errors say which part they are about.
std::shared_ptr<Grammar> grammar_of(const Json& format, Expected expected, const SharedTrie& trie,
                                    const std::string& part) {
  try {
    return grammar_of(format, expected, trie);
  } catch (const Error& error) {
    throw Error(error.code(), str(part, ": ", error.what()));
  }
}

Json format_of_arguments(const Json& tool) {
  const Json* parameters = tool.find("parameters");
  if (parameters == nullptr || parameters->is_null()) {
    return Json(Json::Object{{"type", Json(std::string("json_object"))}});
  }
  return Json(Json::Object{{"type", Json(std::string("json_schema"))}, {"schema", *parameters}});
}

Constraint turn_of(const Json& json, const SharedTrie& trie) {
  if (trie.vocab() < int(tokenizer::kFirstSpecial)) {
    throw Error(Code::kUnsupported, str("a constraint of kind \"harmony\" needs the full vocabulary; this model has ",
                                        trie.vocab(), " tokens"));
  }
  const auto text = [&](const char* key) { return json.find(key) ? *json.find(key)->string() : std::string(); };
  const std::string choice = text("toolChoice");
  const Json* analysis = json.find("analysisTokens");
  const Json* final_format = json.find("final");
  const Json *tools = json.find("tools"), *names = json.find("names");
  Frame::Turn turn = {.has_final = choice != "required",
                      .has_preamble = choice != "required",
                      .has_analysis = analysis == nullptr || analysis->number()->value > 0};
  if (tools != nullptr && choice != "none") {
    for (const Json& tool : *tools->array()) {
      const std::string& name = *tool.find("name")->string();
      const bool may_be_called =
          names == nullptr || std::any_of(names->array()->begin(), names->array()->end(),
                                          [&](const Json& allowed) { return *allowed.string() == name; });
      if (!may_be_called) continue;
      turn.tools.push_back({name, grammar_of(format_of_arguments(tool), Expected::kObject, trie,
                                             str("the parameters of tool ", quote(name)))});
    }
  }
  if (final_format != nullptr && turn.has_final) {
    turn.final_text = grammar_of(*final_format, Expected::kValue, trie, "the format of the final message");
    turn.has_preamble = false;  // clients join the visible texts: one before the value would make it invalid
  }
  return {Frame::of_turn(turn, trie), analysis == nullptr ? -1 : int64_t(analysis->number()->value)};
}

Constraint text_of(const Json& json, std::span<const int32_t> ends, const SharedTrie& trie) {
  std::vector<int32_t> usable;
  for (const int32_t end : ends) {
    if (end < 0 || end >= trie.vocab()) continue;
    usable.push_back(end);
    // A text may need every byte; longer tokens can be spelled.
    if (end < int32_t(tokenizer::kFirstSpecial) && tokenizer::Vocabulary::get().bytes(uint32_t(end)).size() == 1) {
      throw Error(Code::kInvalidArgument, str("the stop token ", end, " is a single byte, which the text may need"));
    }
  }
  if (usable.empty()) throw Error(Code::kInvalidArgument, "a constraint of kind \"text\" needs a stop token to end with");
  return {Frame::of_text(grammar_of(*json.find("format"), Expected::kValue, trie, "the format"), usable, trie)};
}

}  // namespace

std::shared_ptr<const Constraint> compile_constraint(std::string_view text, int vocab, std::span<const int32_t> ends) {
  if (text.size() > kMaxConstraintBytes) {
    throw Error(Code::kInvalidArgument,
                str("the constraint has ", text.size(), " bytes of JSON, at most ", kMaxConstraintBytes, " are supported"));
  }
  const SharedTrie& trie = SharedTrie::of_vocabulary(vocab);
  const Json json = [&] {
    try {
      return parse_json(text, "constraint");
    } catch (const Error& error) {
      throw Error(Code::kInvalidArgument, error.what());  // the text is the caller's, not that of a model
    }
  }();
  const bool is_turn = *json.find("kind")->string() == "harmony";
  return std::make_shared<const Constraint>(is_turn ? turn_of(json, trie) : text_of(json, ends, trie));
}

}  // namespace oss::grammar
