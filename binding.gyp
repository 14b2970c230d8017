{
  "targets": [{
    "target_name": "gpt_oss_cmake",
    "type": "none",
    "actions": [{
      "action_name": "cmake_js",
      "inputs": ["CMakeLists.txt"],
      "outputs": ["<(PRODUCT_DIR)/gpt_oss.node.always"],
      "action": ["node", "native/build.mjs"],
      "message": "Building the addon with cmake-js"
    }]
  }]
}
