// What the striptags filter does to HTML.
#pragma once

#include <string>
#include <string_view>

namespace shardline::jinja {

// Without tags and comments, with runs of whitespace as one space, and entities as characters.
std::string StripTags(std::string_view html);

}  // namespace shardline::jinja
