#include "native/grammar/constraint.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"
#include "native/grammar/budget.h"
#include "native/grammar/regex.h"
#include "native/grammar/schema.h"
#include "native/tokenizer/special_tokens.h"
#include "native/tokenizer/vocabulary.h"

namespace oss::grammar {
namespace {

enum class Expected { kValue, kObject };  // of a schema

// lib/generation/constraint.ts has checked its input, but a program can change the output of JSON.stringify.
[[noreturn]] void refuse_text(const char* key, const char* expected) {
  throw Error(Code::kInvalidArgument,
              str("the JSON text of the constraint is not what was checked: \"", key, "\" is ", expected,
                  "; does something define toJSON()?"),
              "constraint");
}

const std::string& text_in(const Json& from, const char* key) {
  const Json* text = from.find(key);
  if (text == nullptr || text->string() == nullptr) refuse_text(key, "no text");
  return *text->string();
}

const Json::Array& list_in(const Json& from, const char* key) {
  const Json* list = from.find(key);
  if (list == nullptr || list->array() == nullptr) refuse_text(key, "no list");
  return *list->array();
}

std::vector<std::string> texts_in(const Json& from, const char* key) {
  std::vector<std::string> texts;
  for (const Json& text : list_in(from, key)) {
    if (text.string() == nullptr) refuse_text(key, "no list of texts");
    texts.push_back(*text.string());
  }
  return texts;
}

// JSON text from a caller instead of a model file.
Json parse(std::string_view text, const char* what) {
  try {
    return parse_json(text, what);
  } catch (const Error& error) {
    throw Error(Code::kInvalidArgument, error.what(), "constraint");
  }
}

NodeId root_of(Graph& graph, JsonText& json, const Json& format, Expected expected) {
  const std::string& type = text_in(format, "type");
  constexpr NodeId kEnd = Graph::kEndNode;
  if (type == "json_object") return json.any_object(kEnd);
  if (type == "json_value") return json.any_value(kEnd);
  if (type == "regex") {
    Regular regular(graph);
    return regex(graph, regular, text_in(format, "pattern"), Anchoring::kWhole, Spelling::kPlain, "pattern", kEnd);
  }
  if (type == "choice") return graph.choice(texts_in(format, "choices"), kEnd);
  if (type != "json_schema") refuse_text("type", "no format");
  const std::string& text = text_in(format, "schema");
  if (text.size() > kMaxSchemaBytes) {
    throw Error(Code::kInvalidArgument, str("too large to compile: ", text.size(), " bytes of JSON, at most ",
                                            kMaxSchemaBytes, " are supported"));
  }
  graph.spend(Work::kBytes, text.size());
  const Json schema = parse(text, "schema");
  SchemaCompiler compiler(graph, json, schema);
  return expected == Expected::kObject ? compiler.compile_object(kEnd) : compiler.compile(kEnd);
}

std::shared_ptr<Grammar> compile(const Json& format, Expected expected, const SharedTrie& trie, Budget& budget,
                                 const std::shared_ptr<GrammarMemory>& memory) {
  budget.begin_part();
  Graph graph(&budget);
  JsonText json(graph);
  const RuleId root = graph.add_rule(root_of(graph, json, format, expected));
  graph.finish(root, trie.vocab() >= int(tokenizer::kFirstSpecial));
  const NodeId plain_node = json.plain_node();
  const RuleId plain_rule = json.plain_rule();
  auto made =
      std::make_shared<Grammar>(std::make_unique<Machine>(std::move(graph), plain_node, plain_rule), trie, memory);
  made->prepare(budget.cancelled());
  return made;
}

Json format_of(const char* type) { return Json(Json::Object{{"type", Json(std::string(type))}}); }

Json format_of_arguments(const Json& tool) {
  const Json* parameters = tool.find("parameters");
  if (parameters == nullptr || parameters->is_null()) return format_of("json_object");
  return Json(Json::Object{{"type", Json(std::string("json_schema"))}, {"schema", *parameters}});
}

// Whether the schema caused the error, as opposed to a lack of memory or time.
bool is_refusal(const Error& error) {
  return error.code() == Code::kInvalidArgument || error.code() == Code::kUnsupported;
}

bool is_relaxed(const Json& part) {
  const Json* unsupported = part.find("unsupported");
  return unsupported != nullptr && unsupported->string() && *unsupported->string() == "relax";
}

}  // namespace

// The parts of one constraint.
class Parts {
 public:
  struct Part {
    std::string words, field;
  };

  Parts(Constraints& of, const SharedTrie& trie, const std::atomic<bool>* cancelled)
      : of_(of), trie_(trie), budget_(cancelled) {}

  // `at`: its place among the tools.
  std::shared_ptr<Grammar> arguments(const Json& tool, size_t at) {
    const std::string& name = text_in(tool, "name");
    const Part part = {str("the parameters of tool ", quote(name)), str("constraint.tools[", at, "].parameters")};
    try {
      return named(format_of_arguments(tool), Expected::kObject, part);
    } catch (const Error& error) {
      if (!is_refusal(error) || !is_relaxed(tool)) throw;
      relaxed_.push_back({name, error.what()});
      return named(format_of("json_object"), Expected::kValue, part);
    }
  }
  std::shared_ptr<Grammar> text(const Json& format, const Part& part) {
    try {
      return named(format, Expected::kValue, part);
    } catch (const Error& error) {
      if (!is_refusal(error) || !is_relaxed(format)) throw;
      relaxed_.push_back({std::nullopt, error.what()});
      return named(format_of(says_object(text_in(format, "schema")) ? "json_object" : "json_value"), Expected::kValue,
                   part);
    }
  }
  std::vector<Relaxed> relaxed() { return std::move(relaxed_); }

 private:
  // Adds the part to every error.
  std::shared_ptr<Grammar> named(const Json& format, Expected expected, const Part& part) {
    try {
      return grammar_of(format, expected);
    } catch (const Error& error) {
      throw Error(error.code(), str(part.words, ": ", error.what()), part.field);
    }
  }
  std::shared_ptr<Grammar> grammar_of(const Json& format, Expected expected) {
    std::string key = str(expected == Expected::kObject ? "object" : "value", compact(format));
    if (std::shared_ptr<Grammar> known = of_.grammars_.find(key)) return known;
    std::shared_ptr<Grammar> made = compile(format, expected, trie_, budget_, of_.memory_);
    of_.grammars_.add(std::move(key), made);
    return made;
  }
  static bool says_object(const std::string& schema) {
    try {
      const Json root = parse(schema, "schema");
      const Json* type = root.find("type");
      return type != nullptr && type->string() && *type->string() == "object";
    } catch (const Error&) {
      return false;
    }
  }

  Constraints& of_;
  const SharedTrie& trie_;
  Budget budget_;
  std::vector<Relaxed> relaxed_;
};

namespace {

Constraint turn_of(const Json& json, Parts& parts, const SharedTrie& trie) {
  if (trie.vocab() < int(tokenizer::kFirstSpecial)) {
    throw Error(
        Code::kUnsupported,
        str("a constraint of kind \"harmony\" needs the full vocabulary; this model has ", trie.vocab(), " tokens"),
        "constraint.kind");
  }
  const std::string choice = json.find("toolChoice") != nullptr ? text_in(json, "toolChoice") : "auto";
  const Json *analysis = json.find("analysisTokens"), *final_format = json.find("final");
  if (analysis != nullptr && analysis->number() == nullptr) refuse_text("analysisTokens", "no number");
  Frame::Turn turn = {.has_final = choice != "required",
                      .has_preamble = choice != "required",
                      .has_analysis = analysis == nullptr || analysis->number()->value > 0};
  if (choice != "none" && json.find("tools") != nullptr) {
    const bool all = json.find("names") == nullptr;
    const std::vector<std::string> names = all ? std::vector<std::string>() : texts_in(json, "names");
    const Json::Array& tools = list_in(json, "tools");
    for (size_t i = 0; i < tools.size(); ++i) {
      const std::string& name = text_in(tools[i], "name");
      const bool may_be_called = all || std::find(names.begin(), names.end(), name) != names.end();
      if (may_be_called) turn.tools.push_back({name, parts.arguments(tools[i], i)});
    }
  }
  if (final_format != nullptr && turn.has_final) {
    turn.final_text = parts.text(*final_format, {"the format of the final message", "constraint.final"});
    turn.has_preamble = false;  // clients join the visible texts: a preamble would make the value invalid
  }
  return {Frame::of_turn(turn, trie), analysis == nullptr ? -1 : int64_t(analysis->number()->value)};
}

Constraint text_of(const Json& json, Parts& parts, std::span<const int32_t> ends, const SharedTrie& trie) {
  std::vector<int32_t> usable;
  for (const int32_t end : ends) {
    if (end < 0 || end >= trie.vocab()) continue;
    usable.push_back(end);
    // A text may need any single byte; text of longer tokens can be spelled with shorter ones.
    if (end < int32_t(tokenizer::kFirstSpecial) && tokenizer::Vocabulary::get().bytes(uint32_t(end)).size() == 1) {
      throw Error(Code::kInvalidArgument, str("the stop token ", end, " is a single byte, which the text may need"),
                  "stopTokens");
    }
  }
  if (usable.empty())
    throw Error(Code::kInvalidArgument, "a constraint of kind \"text\" needs a stop token to end with", "stopTokens");
  const Json* format = json.find("format");
  if (format == nullptr) refuse_text("format", "absent");
  return {Frame::of_text(parts.text(*format, {"the format", "constraint.format"}), usable, trie)};
}

std::string key_of(std::string_view text, std::span<const int32_t> ends) {
  std::string key;
  for (const int32_t end : ends) key += str(end, ",");
  return key.append(":").append(text);
}

}  // namespace

template <typename Value>
std::shared_ptr<Value> RecentlyUsed<Value>::find(const std::string& key) {
  std::lock_guard lock(mutex_);
  const auto at = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.key == key; });
  if (at == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at);
  return at->value;
}

template <typename Value>
void RecentlyUsed<Value>::add(std::string key, std::shared_ptr<Value> value) {
  {
    std::lock_guard lock(mutex_);
    const size_t bytes = key.size();
    entries_.push_front({std::move(key), std::move(value)});
    memory_->bytes += bytes;
  }
  while (size() > kMostKept && drop_one()) {
  }
}

template <typename Value>
bool RecentlyUsed<Value>::drop_one() {
  std::list<Entry> dropped;  // destroyed after the lock is released, because that takes time
  std::lock_guard lock(mutex_);
  if (entries_.size() <= 1) return false;
  dropped.splice(dropped.begin(), entries_, std::prev(entries_.end()));
  memory_->bytes -= dropped.front().key.size();
  return true;
}

template <typename Value>
size_t RecentlyUsed<Value>::size() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

template class RecentlyUsed<Grammar>;
template class RecentlyUsed<const Constraint>;

Constraints::Constraints(int vocab, size_t most_bytes)
    : vocab_(vocab), memory_(std::make_shared<GrammarMemory>()), grammars_(memory_), constraints_(memory_) {
  memory_->most = most_bytes;
}

std::shared_ptr<const Constraint> Constraints::find(std::string_view text, std::span<const int32_t> ends) {
  return constraints_.find(key_of(text, ends));
}

// A constraint holds its grammars, so both must be dropped.
void Constraints::trim() {
  while (memory_->is_scarce()) {
    const bool dropped = constraints_.drop_one();
    if (!grammars_.drop_one() && !dropped) return;
  }
}

std::shared_ptr<const Constraint> Constraints::compile(std::string_view text, std::span<const int32_t> ends,
                                                       const std::atomic<bool>* cancelled) {
  if (text.size() > kMaxConstraintBytes) {
    throw Error(
        Code::kInvalidArgument,
        str("the constraint has ", text.size(), " bytes of JSON, at most ", kMaxConstraintBytes, " are supported"),
        "constraint");
  }
  std::string key = key_of(text, ends);
  if (std::shared_ptr<const Constraint> known = constraints_.find(key)) return known;
  const SharedTrie& trie = SharedTrie::of_vocabulary(vocab_);
  const Json json = parse(text, "constraint");
  Parts parts(*this, trie, cancelled);
  const bool is_turn = text_in(json, "kind") == "harmony";
  Constraint constraint = is_turn ? turn_of(json, parts, trie) : text_of(json, parts, ends, trie);
  constraint.relaxed = parts.relaxed();
  trie.get();  // built here, where waiting is allowed
  const auto made = std::make_shared<const Constraint>(std::move(constraint));
  constraints_.add(std::move(key), made);
  trim();
  return made;
}

std::shared_ptr<const Constraint> compile_constraint(std::string_view json, int vocab, std::span<const int32_t> ends,
                                                     const std::atomic<bool>* cancelled) {
  return Constraints(vocab).compile(json, ends, cancelled);
}

}  // namespace oss::grammar
