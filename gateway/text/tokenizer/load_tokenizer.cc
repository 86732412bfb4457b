// LoadTokenizer: which kind of file a path is.
#include <filesystem>
#include <fstream>

#include "gateway/text/tokenizer/tokenizer.h"
#include "gateway/text/tokenizer/tokenizer_files.h"

namespace shardline {

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return NotFound(path, ": does not exist");
  if (std::filesystem::is_directory(status)) return TokenizerFromDirectory(path);
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  if (std::string_view(magic, sizeof(magic)) == "GGUF") {
    SL_ASSIGN_OR_RETURN(const std::unique_ptr<GgufFile> file, GgufFile::Open(path));
    return TokenizerFromGguf(*file);
  }
  return TokenizerFromJsonFile(path);
}

}  // namespace shardline
